// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/matmul/matmul.h"

namespace intarsia::matmul_cuda {

struct Kernels {
  // As Linear, without the tape: x rows have a dense last axis.
  Tensor (*linear)(Context& ctx, const Tensor& x, const Weight& w,
                   const Weight* bias);
};
extern const Kernels* kernels;

}  // namespace intarsia::matmul_cuda
