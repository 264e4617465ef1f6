// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/conv1d/conv1d.h"

namespace intarsia::conv1d_cuda {

struct Kernels {
  // As CausalConv1d, without the tape, in fp32 or bf16, which the result has
  // too (state and weights are fp32); x has a dense last axis; ctx.batch is
  // uploaded. *state may be undefined.
  Tensor (*conv1d)(Context& ctx, const Tensor& x, const Weight& weight,
                   const Weight* bias, Activation activation, Tensor* state);
  // Gradients from g, that of the sums before the activation: of x, and of the
  // weight. fp32; x has a dense last axis.
  Tensor (*input_gradient)(Context& ctx, const Weight& weight, const Tensor& g);
  Tensor (*weight_gradient)(Context& ctx, const Tensor& x, const Weight& weight,
                            const Tensor& g);
  Tensor (*bias_gradient)(Context& ctx, const Tensor& g);
};
extern const Kernels* kernels;

}  // namespace intarsia::conv1d_cuda
