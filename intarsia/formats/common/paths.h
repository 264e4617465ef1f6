// Which kernels run on this CPU: the one place that decides it.
//
//   prepared, VNNI        Ice Lake, Zen 4 and later      q8_0, q4_0, q4_1
//   Highway               everything else: AVX-512, AVX2, SSE4
//
// A build for a smaller instruction set (INTARSIA_SIMD=avx2, emu128) has
// Highway's.
#pragma once

#include <string>
#include <vector>

#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

using PreparedTable = const PreparedKernels& (*)();

// Whether the CPU and the build have the VNNI kernels.
bool HasVnni();
// Null: Highway's kernels.
const PreparedKernels* IfVnni(PreparedTable table);

// For tests. The tables above are null while `only`; Highway's kernels run for
// one of the targets of this build that the CPU has ("": the best).
void OnlyHighwayForTest(bool only);
std::vector<std::string> EachSimdTarget();
void SetSimdTargetForTest(const std::string& name);

}  // namespace intarsia::formats
