// Gradients of the core on a GPU.
#pragma once

#include <vector>

#include "intarsia/mixers/attention/attention.h"

namespace intarsia::attention_cuda {

// A call of Kernels::gradients.
struct GradientCall {
  const Batch& batch;
  DType dtype;  // Context::dtype
  const Tensor &q, &k, &v;
  const AttentionResult& result;
  const AttentionCoreConfig& config;
  const Tensor &d_out, &d_lse;
  std::vector<Tensor> gradients;  // of q, k and v
};

// attention_backward_cuda.cu
Status SupportsBackward(const GradientCall& call);
void RunBackward(Context& ctx, GradientCall& call);

// As Kernels::gradients and Kernels::sink_gradient.
std::vector<Tensor> Gradients(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const AttentionResult& result,
                              const AttentionCoreConfig& config,
                              const Tensor& d_out, const Tensor& d_lse);
Tensor SinkGradient(Context& ctx, const Weight& sinks,
                    const AttentionResult& result, const Tensor& d_out,
                    const Tensor& d_lse);

}  // namespace intarsia::attention_cuda
