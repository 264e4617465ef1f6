// Kernels of mxfp4, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotMxfp4(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeMxfp4(const std::byte* in, float* out, int64_t k);

// Packed rows.
const PreparedKernels& Mxfp4PanelsAvx512();  // with VNNI
const PreparedKernels& Mxfp4PanelsAvx2();

}  // namespace intarsia::formats
