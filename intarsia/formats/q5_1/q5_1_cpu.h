// Kernels of q5_1, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"

namespace intarsia::formats {

void DotQ51(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeQ51(const std::byte* in, float* out, int64_t k);

}  // namespace intarsia::formats
