// Kernels of iq4_nl, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"

namespace intarsia::formats {

void DotIq4Nl(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeIq4Nl(const std::byte* in, float* out, int64_t k);

}  // namespace intarsia::formats
