// Kernels of iq4_xs, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotIq4Xs(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeIq4Xs(const std::byte* in, float* out, int64_t k);

// Packed rows.
const PreparedKernels& Iq4XsPanelsAvx512();  // with VNNI
const PreparedKernels& Iq4XsPanelsAvx2();

}  // namespace intarsia::formats
