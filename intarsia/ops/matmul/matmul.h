// Linear layers over weights in any format.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

// x [T, K] · w [N, K]ᵀ (+ bias [N]) → [T, N]. x may be a column slice (rows
// contiguous, any row stride). Differentiable in x, w and bias.
Tensor Linear(Context& ctx, const Tensor& x, const Weight& w,
              const Weight* bias = nullptr);

// Several linear layers of one x: on the CPU one loop over the threads, and x
// brought once into the form that the products want. Same bits as Linear.
struct LinearWeights {
  const Weight* w = nullptr;
  const Weight* bias = nullptr;
};
std::vector<Tensor> Linears(Context& ctx, const Tensor& x,
                            std::span<const LinearWeights> layers);
template <size_t N>
std::array<Tensor, N> AsArray(std::vector<Tensor> all) {
  CHECK_EQ(all.size(), N);
  std::array<Tensor, N> out;
  std::ranges::move(all, out.begin());
  return out;
}
template <size_t N>
std::array<Tensor, N> Linears(Context& ctx, const Tensor& x,
                              const LinearWeights (&layers)[N]) {
  return AsArray<N>(Linears(ctx, x, std::span<const LinearWeights>(layers)));
}

// activation(gate layer) ⊙ up layer, [T, N]: on a GPU, where few rows make it
// worth while, without the two in memory.
Tensor GatedLinear(Context& ctx, const Tensor& x, Activation activation,
                   const LinearWeights& gate, const LinearWeights& up);

// Experts: rows [offsets[e], offsets[e+1]) of x [T, K] meet w[e] of
// w [E, N, K] → [T, N]. offsets: E+1 entries on the host. Differentiable in x,
// w.
Tensor GroupedLinear(Context& ctx, const Tensor& x, const Weight& w,
                     std::span<const int32_t> offsets);
std::vector<Tensor> GroupedLinears(Context& ctx, const Tensor& x,
                                   std::span<const Weight* const> weights,
                                   std::span<const int32_t> offsets);

// Training only, plain fp32: C = op(A) · op(B), no exactness promise.
// A [M, K] (or [K, M] with trans_a), B [K, N] (or [N, K] with trans_b).
Tensor DenseMatmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b,
                   bool trans_b);

}  // namespace intarsia
