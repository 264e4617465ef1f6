// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/delta/delta.h"

namespace intarsia::delta_cuda {

// As in delta.h, without the tape, fp32; all tensors contiguous.
struct Kernels {
  Tensor (*log_decays)(Context& ctx, const Tensor& raw, const Weight& dt_bias,
                       const Weight& a_log, float floor);
  Tensor (*gate_heads)(Context& ctx, const Tensor& x, const Tensor& gate);
};
extern const Kernels* kernels;

}  // namespace intarsia::delta_cuda
