// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/norm/norm.h"

namespace intarsia::norm_cuda {

struct Kernels {
  // As RmsNorm and LayerNorm, without the tape. x contiguous.
  Tensor (*rms_norm)(Context& ctx, const Tensor& x, const Weight* scale,
                     float eps, bool unit_offset);
  Tensor (*layer_norm)(Context& ctx, const Tensor& x, const Weight* scale,
                       const Weight* bias, float eps);
};
extern const Kernels* kernels;

}  // namespace intarsia::norm_cuda
