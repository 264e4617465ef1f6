// Kernels of q8_0, for the instruction set of this CPU.
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

void DotQ80(const DotArgs& args);
// Any address, any k that is a multiple of the block.
void DequantizeQ80(const std::byte* in, float* out, int64_t k);

const PreparedKernels& Q80Avx512();  // with VNNI, of stored rows
const PreparedKernels& Q80PanelsAvx512();
const PreparedKernels& Q80Avx2();  // panels, packed or stored

}  // namespace intarsia::formats
