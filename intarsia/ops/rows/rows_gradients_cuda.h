// What gradients of rows need on a GPU (rows_gradients_cuda.cu).
#pragma once

#include <span>
#include <vector>

#include "intarsia/ops/rows/rows.h"

namespace intarsia::rows_cuda {

// As in Kernels.
Tensor Join(Context& ctx, const std::vector<Tensor>& parts, int64_t width);
std::vector<Tensor> Split(Context& ctx, const Tensor& x,
                          const std::vector<int64_t>& widths);
Tensor Dots(Context& ctx, const Tensor& x, const Tensor& g,
            std::span<const int32_t> rows);

}  // namespace intarsia::rows_cuda
