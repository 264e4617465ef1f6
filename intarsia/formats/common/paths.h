// Which kernels run on this CPU: the one place that decides it.
//
//   integer, vpdpbusd (VNNI)   Ice Lake, Zen 4 and later   q8_0, q4_0, q4_1
//   integer, vpmaddwd (AVX2)   Haswell, Zen and later      the same, same bits
//   Highway                    everything else: AVX-512, AVX2, SSE4
//
// Weights that are packed when a model is opened (packing.h) meet vpdpwssd
// (VNNI) or vpmaddwd: every format but f32, q2_k and f8_e4m3_128. Of these,
// stored, all but the three above meet fp32.
//
// A build for a smaller instruction set (INTARSIA_SIMD=avx2, emu128) has what
// that set has.
#pragma once

#include <string>
#include <vector>

#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

using PreparedTable = const PreparedKernels& (*)();

// Whether the CPU and the build have the integer kernels of either kind.
bool HasVnni();
bool HasMadd();
// Which of a format's kernels, or of those that packed weights take, to use
// here; null: Highway's, or none.
const PreparedKernels* IntegerPath(PreparedTable vnni, PreparedTable madd);

// The same as a function of a format's data.
template <PreparedTable vnni, PreparedTable madd>
const PreparedKernels* Path() {
  return IntegerPath(vnni, madd);
}

// For tests: one of the integer kernels, whatever the build is for, or none;
// kBest as above. EachIntegersForTest: what this CPU has, best first.
enum class Integers { kBest, kVnni, kMadd, kNone };
void SetIntegersForTest(Integers integers);
std::vector<Integers> EachIntegersForTest();
// Highway's kernels for one of the targets of this build that the CPU has. "":
// the best, or the one that the environment's INTARSIA_TEST_SIMD names.
std::vector<std::string> EachSimdTarget();
void SetSimdTargetForTest(const std::string& name);

}  // namespace intarsia::formats
