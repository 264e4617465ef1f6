// Ops by token and channel that RWKV's mixers share.
#pragma once

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

// x_{t−1} − x_t within a sequence, 0 before its first token. x: [T, D]. state:
// undefined (sequences start), or [slots, D] fp32: the last x, read and updated
// at batch.slots. By rows of the batch: of a selected batch, the row selected
// before. Differentiable in x.
Tensor TokenShift(Context& ctx, const Tensor& x, Tensor state = Tensor());

// base + weight ⊙ y by column: y [..., C] of as many numbers a row as the
// weight has, base of y's shape or undefined for 0. Differentiable in all
// three.
Tensor AddWeighted(Context& ctx, const Tensor& base, const Tensor& y,
                   const Weight& weight);

// [rows, C] of the weight [C] in every row. Differentiable in it.
Tensor RepeatRow(Context& ctx, const Weight& weight, int64_t rows);

// −e^x. Differentiable.
Tensor NegativeExp(Context& ctx, const Tensor& x);

// base + (Σ_i r_i u_i k_i) v by head: r, k [T, H, K], u [H, K], base, v
// [T, H, V]: what a token gives itself. Differentiable in all five.
Tensor AddBonus(Context& ctx, const Tensor& base, const Tensor& r,
                const Tensor& k, const Tensor& v, const Weight& u);

// A token and the one before it in shares by channel:
//   x_t + μ ⊙ (x_{t−1} − x_t), or μ ⊙ x_t + (1 − μ) ⊙ x_{t−1}: `of_current`.
class TokenMixer {
 public:
  // x and state as of TokenShift.
  TokenMixer(Context& ctx, const Tensor& x, bool of_current, Tensor state);
  Tensor With(Context& ctx, const Weight& share) const;
  // The same with a share for each token, [T, D].
  Tensor With(Context& ctx, const Tensor& share) const;

 private:
  Tensor base_, other_;
};

}  // namespace intarsia
