// The core's door and its gradients, for attention_core.cc alone.
#pragma once

#include <vector>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/attention/attention_cuda.h"

namespace intarsia {

inline std::vector<Tensor*> TapeOutputs(AttentionResult* result) {
  return {&result->out, &result->lse};
}

namespace attention_internal {

inline OpDoor<attention_cuda::Kernels> Door() {
  return {"attention", "attention", attention_cuda::kernels};
}

// Vector-Jacobian products of AttentionCore over the batch's own keys, and of
// MergeAttention, given their results.
Tape::BackwardFn CoreVjp(Tape* tape, const Tensor& q, const AttentionKeys& keys,
                         const AttentionCoreConfig& config, const Weight* sinks,
                         const AttentionResult& result);
Tape::BackwardFn MergeVjp(const AttentionResult& a, const AttentionResult& b,
                          const AttentionResult& merged);

}  // namespace attention_internal
}  // namespace intarsia
