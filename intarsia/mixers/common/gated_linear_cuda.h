// CUDA kernels of the core; null in a build without them.
#pragma once

#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia::gated_linear_cuda {

struct Kernels {
  // o_t and, where given, the states: `pool` [slots, H, ...] is read and
  // updated at each segment's slot; otherwise segment n starts from state_in[n]
  // (or zero) and ends in state_out[n] (or nowhere). Inputs
  // contiguous; a constant log_decay [H] is on the host.
  Tensor (*recurrent)(Context& ctx, const Tensor& q, const Tensor& k,
                      const Tensor& v, const Tensor& log_decay, Tensor* pool,
                      const Tensor& state_in, Tensor* state_out,
                      const GatedLinearOptions& options);
  // GatedLinearResult::decay, from log_decay as above.
  Tensor (*total_decay)(Context& ctx, const Tensor& log_decay);
  // From the gradients of the result's fields, each undefined or contiguous, to
  // those of q, k, v, log_decay ([T, H], a constant one too) and state_in
  // (undefined as that is).
  std::vector<Tensor> (*gradients)(Context& ctx, const Tensor& q,
                                   const Tensor& k, const Tensor& v,
                                   const Tensor& log_decay,
                                   const Tensor& state_in,
                                   const GatedLinearResult& result,
                                   const std::vector<Tensor>& given,
                                   const GatedLinearOptions& options);
};
extern const Kernels* kernels;

}  // namespace intarsia::gated_linear_cuda
