// 16-bit weights as 16-bit integers with a scale a block of 32, for vpmaddwd
// and vpdpwssd: they do twice the multiply-adds of fp32, so many rows of X take
// half the time.
//
// number ≈ scale · code. The scale is the least bf16 with |code| ≤ 32767 and
// Σ |code| ≤ 132,000 over the block, so that products with activations of 15
// bits (activations.h) sum exactly in 32 bits. A number errs by half a scale at
// most: of normally distributed weights 6e-5 of their deviation, where f16
// itself rounds by 1.4e-4 and bf16 by 1.1e-3 of each number. Only packed
// weights are multiplied so (packing.h); stored ones meet fp32.
#pragma once

#include "intarsia/formats/common/prepared.h"

namespace intarsia::formats {

const PreparedKernels& BF16PanelsAvx2();
const PreparedKernels& F16PanelsAvx2();
const PreparedKernels& BF16PanelsAvx512();  // with VNNI
const PreparedKernels& F16PanelsAvx512();

}  // namespace intarsia::formats
