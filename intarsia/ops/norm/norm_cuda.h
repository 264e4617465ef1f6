// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/norm/norm.h"

namespace intarsia::norm_cuda {

// As RmsNorm and LayerNorm, without the tape, in fp32 or bf16, which the result
// has too. x contiguous. *moments: [rows, 2] fp32 that the call fills (mean and
// factor of each row), or undefined.
struct Kernels {
  Tensor (*rms_norm)(Context& ctx, const Tensor& x, const Weight* scale,
                     float eps, bool unit_offset, Tensor* moments);
  // *normed = the norm of *x + more, which *x becomes; false where no kernel
  // does both at once, and nothing is done then.
  bool (*add_rms_norm)(Context& ctx, const Tensor& more, const Weight& scale,
                       float eps, bool unit_offset, Tensor* x, Tensor* normed);
  Tensor (*layer_norm)(Context& ctx, const Tensor& x, const Weight* scale,
                       const Weight* bias, float eps, Tensor* moments);
  // Gradients in fp32. `centred`: of the layer norm.
  Tensor (*input_gradient)(Context& ctx, const Tensor& x, const Weight* scale,
                           bool unit_offset, bool centred, const Tensor& g,
                           const Tensor& moments);
  // Of the scale w, or of the bias.
  Tensor (*weight_gradient)(Context& ctx, const Tensor& x, const Weight& w,
                            bool bias, const Tensor& g, const Tensor& moments);
};
extern const Kernels* kernels;

}  // namespace intarsia::norm_cuda
