// Plain gradients of the gated linear core on a GPU
// (gated_linear_gradients_cuda.cu).
#pragma once

#include <vector>

#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia::gated_linear_cuda {

// As in Kernels.
Tensor TotalDecay(Context& ctx, const Tensor& log_decay);
std::vector<Tensor> Gradients(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const Tensor& log_decay,
                              const Tensor& state_in,
                              const GatedLinearResult& result,
                              const std::vector<Tensor>& given,
                              const GatedLinearOptions& options);

}  // namespace intarsia::gated_linear_cuda
