// Kernels of q4_0, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotQ40(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeQ40(const std::byte* in, float* out, int64_t k);

const PreparedKernels& Q40Avx512();  // with VNNI, of stored rows
const PreparedKernels& Q40PanelsAvx512();
const PreparedKernels& Q40Avx2();  // panels, packed or stored

}  // namespace intarsia::formats
