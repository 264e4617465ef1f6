// Plain gradients of Mamba-2's steps and skip connection on a GPU
// (mamba2_gradients_cuda.cu).
#pragma once

#include <vector>

#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia::mamba2_cuda {

// As in Kernels.
std::vector<Tensor> DiscretizeGradients(Context& ctx, const Tensor& raw,
                                        const Tensor& x, const Weight& dt_bias,
                                        const Weight& a_log, float dt_min,
                                        float dt_max, const Tensor& decay,
                                        const Tensor& value);
Tensor Dots(Context& ctx, const Tensor& a, const Tensor& b);
Tensor ScaleHeads(Context& ctx, const Tensor& x, const Weight& d);
Tensor SumRows(Context& ctx, const Tensor& x);

}  // namespace intarsia::mamba2_cuda
