// Kernels of q5_0, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotQ50(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeQ50(const std::byte* in, float* out, int64_t k);

// Packed rows.
const PreparedKernels& Q50PanelsAvx512();  // with VNNI
const PreparedKernels& Q50PanelsAvx2();

}  // namespace intarsia::formats
