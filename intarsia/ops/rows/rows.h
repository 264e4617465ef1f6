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

// The index of the largest number of each row of x [T, N] fp32, the first of
// equals; -1 for a row that has a number that is not finite. On the host.
std::vector<int32_t> LargestOfRows(Context& ctx, const Tensor& x);

}  // namespace intarsia
