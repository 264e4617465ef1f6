// Linear layers over weights in any format.
#pragma once

#include <span>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

// x [T, K] · w [N, K]ᵀ (+ bias [N]) → [T, N]. x may be a column slice (rows
// contiguous, any row stride). Differentiable in x, w and bias.
Tensor Linear(Context& ctx, const Tensor& x, const Weight& w,
              const Weight* bias = nullptr);

// Experts: rows [offsets[e], offsets[e+1]) of x [T, K] meet w[e] of
// w [E, N, K] → [T, N]. offsets: E+1 entries on the host. Differentiable in x,
// w.
Tensor GroupedLinear(Context& ctx, const Tensor& x, const Weight& w,
                     std::span<const int32_t> offsets);

// Training only, plain fp32: C = op(A) · op(B), no exactness promise.
// A [M, K] (or [K, M] with trans_a), B [K, N] (or [N, K] with trans_b).
Tensor DenseMatmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b,
                   bool trans_b);

}  // namespace intarsia
