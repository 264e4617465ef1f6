// Plain gradients of the core on a GPU (attention_gradients_cuda.cu).
#pragma once

#include <vector>

#include "intarsia/mixers/attention/attention.h"

namespace intarsia::attention_cuda {

// As Kernels::gradients and Kernels::sink_gradient.
std::vector<Tensor> Gradients(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const AttentionResult& result,
                              const AttentionCoreConfig& config,
                              const Tensor& d_out, const Tensor& d_lse);
Tensor SinkGradient(Context& ctx, const Weight& sinks,
                    const AttentionResult& result, const Tensor& d_out,
                    const Tensor& d_lse);

}  // namespace intarsia::attention_cuda
