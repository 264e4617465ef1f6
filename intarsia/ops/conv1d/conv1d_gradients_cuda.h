// Plain gradients of the convolution on a GPU (conv1d_gradients_cuda.cu).
#pragma once

#include "intarsia/ops/conv1d/conv1d.h"

namespace intarsia::conv1d_cuda {

// As in Kernels.
Tensor InputGradient(Context& ctx, const Weight& weight, const Tensor& g);
Tensor WeightGradient(Context& ctx, const Tensor& x, const Weight& weight,
                      const Tensor& g);
Tensor BiasGradient(Context& ctx, const Tensor& g);

}  // namespace intarsia::conv1d_cuda
