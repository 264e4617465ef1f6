// Kernels of iq4_xs, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"

namespace intarsia::formats {

void DotIq4Xs(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeIq4Xs(const std::byte* in, float* out, int64_t k);

}  // namespace intarsia::formats
