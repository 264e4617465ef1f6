// Kernels of q6_k, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotQ6K(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeQ6K(const std::byte* in, float* out, int64_t k);

// Packed rows.
const PreparedKernels& Q6KPanelsAvx512();  // with VNNI
const PreparedKernels& Q6KPanelsAvx2();

}  // namespace intarsia::formats
