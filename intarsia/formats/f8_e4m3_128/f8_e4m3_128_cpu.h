// Kernels of f8_e4m3_128, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"

namespace intarsia::formats {

void DotF8E4M3(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeF8E4M3(const std::byte* in, float* out, int64_t k);

}  // namespace intarsia::formats
