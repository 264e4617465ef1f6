// CUDA kernels of the room; null in a build without them.
#pragma once

#include <vector>

#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::elementwise_cuda {

// As the functions of elementwise.h, without the tape, in fp32 or bf16, which
// the result has too. Operands are contiguous; gate and up [T, D] may have any
// row stride.
struct Kernels {
  Tensor (*add)(Context& ctx, const Tensor& a, const Tensor& b);
  Tensor (*mul)(Context& ctx, const Tensor& a, const Tensor& b);
  Tensor (*scale)(Context& ctx, const Tensor& x, float factor);
  Tensor (*activate)(Context& ctx, Activation kind, const Tensor& x);
  Tensor (*soft_cap)(Context& ctx, const Tensor& x, float cap);
  Tensor (*clamp)(Context& ctx, const Tensor& x, float low, float high,
                  float offset);
  Tensor (*gated)(Context& ctx, Activation kind, const Tensor& gate,
                  const Tensor& up);
  Tensor (*cast)(Context& ctx, const Tensor& x, DType dtype);
  // Gradients in fp32, all contiguous: of x, and of gate and up.
  Tensor (*activate_backward)(Context& ctx, Activation kind, const Tensor& x,
                              const Tensor& g);
  Tensor (*clamp_backward)(Context& ctx, const Tensor& x, float low, float high,
                           const Tensor& g);
  std::vector<Tensor> (*gated_backward)(Context& ctx, Activation kind,
                                        const Tensor& gate, const Tensor& up,
                                        const Tensor& g);
};
extern const Kernels* kernels;

}  // namespace intarsia::elementwise_cuda
