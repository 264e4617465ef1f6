// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::elementwise_cuda {

struct Kernels {
  // As the functions of elementwise.h, without the tape. Operands of the first
  // three are contiguous; gate and up [T, D] may have any row stride.
  Tensor (*add)(Context& ctx, const Tensor& a, const Tensor& b);
  Tensor (*mul)(Context& ctx, const Tensor& a, const Tensor& b);
  Tensor (*scale)(Context& ctx, const Tensor& x, float factor);
  Tensor (*activate)(Context& ctx, Activation kind, const Tensor& x);
  Tensor (*gated)(Context& ctx, Activation kind, const Tensor& gate,
                  const Tensor& up);
};
extern const Kernels* kernels;

}  // namespace intarsia::elementwise_cuda
