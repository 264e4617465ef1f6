// CUDA kernels of the core; null in a build without them.
#pragma once

#include "intarsia/mixers/common/delta_rule.h"

namespace intarsia::delta_rule_cuda {

struct Kernels {
  // o_t and, where given, the states: `pool` [slots, H, K, V] is read and
  // updated at each segment's slot; otherwise segment n starts from state_in[n]
  // (or zero) and ends in state_out[n]. Inputs contiguous.
  Tensor (*recurrent)(Context& ctx, const DeltaRuleInputs& in, Tensor* pool,
                      const Tensor& state_in, Tensor* state_out,
                      const DeltaRuleOptions& options);
};
extern const Kernels* kernels;

}  // namespace intarsia::delta_rule_cuda
