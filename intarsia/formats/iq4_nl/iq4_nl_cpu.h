// Kernels of iq4_nl, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotIq4Nl(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeIq4Nl(const std::byte* in, float* out, int64_t k);

// Packed rows.
const PreparedKernels& Iq4NlPanelsAvx512();  // with VNNI
const PreparedKernels& Iq4NlPanelsAvx2();

}  // namespace intarsia::formats
