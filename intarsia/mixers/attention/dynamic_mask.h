// Doge's dynamic mask: what a token's values say of how much it is looked at.
// Shi et al. 2025, "Trainable Dynamic Mask Sparse Attention".
#pragma once

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

// dt [T, G], decay [G] → exp(decay ⊙ softplus(dt)), [T, G, 1] fp32, on the CPU.
// Differentiable in both.
Tensor DynamicMask(Context& ctx, const Tensor& dt, const Weight& decay);

}  // namespace intarsia
