// Moving rows of [T, D] tensors: selection, expert dispatch and combine.
#pragma once

#include <span>
#include <vector>

#include "intarsia/core/context.h"

namespace intarsia {

// out[i] = x[rows[i]]. Differentiable in x.
Tensor GatherRows(Context& ctx, const Tensor& x, std::span<const int32_t> rows);

// out[t] = Σ_i weights[i] · x[i] over i with rows[i] = t, in ascending i, so
// the sum does not depend on threads. weights [rows] fp32 tensor, or undefined
// for
// 1. out has `count` rows. Differentiable in x and weights.
Tensor CombineRows(Context& ctx, const Tensor& x, std::span<const int32_t> rows,
                   const Tensor& weights, int64_t count);

// [T, A], [T, B] ... side by side: [T, A + B + ...]. On the CPU.
// Differentiable.
Tensor JoinColumns(Context& ctx, const std::vector<Tensor>& parts);

}  // namespace intarsia
