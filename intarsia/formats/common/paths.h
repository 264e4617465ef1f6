// Which kernels run on this CPU: the one place that decides it.
//
//   integer, vpdpbusd (VNNI)   Ice Lake, Zen 4 and later   q8_0, q4_0, q4_1
//   integer, vpmaddwd (AVX2)   Haswell, Zen and later      the same, same bits
//   Highway                    everything else: AVX-512, AVX2, SSE4
//
// Weights that are packed when a model is opened (packing.h) meet vpmaddwd:
// q8_0, q4_0 and q4_1 where VNNI is absent; bf16 and f16, in fp32 as stored, on
// either.
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
// The kernels of a format to use here; null: Highway's.
const PreparedKernels* IntegerPath(PreparedTable vnni, PreparedTable madd);
// The kernels that packed weights take; null: none.
const PreparedKernels* PackedPath(PreparedTable madd);

// For tests. The tables above are null while `only`; Highway's kernels run for
// one of the targets of this build that the CPU has ("": the best).
void OnlyHighwayForTest(bool only);
std::vector<std::string> EachSimdTarget();
void SetSimdTargetForTest(const std::string& name);

}  // namespace intarsia::formats
