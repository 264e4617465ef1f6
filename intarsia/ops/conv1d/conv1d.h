// Short causal depthwise convolution over time, as Mamba, Hyena and LFM2 use
// it.
#pragma once

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

// y_t = act(bias + Σ_j weight[:, W−1−j] ⊙ x_{t−j}), j < W, within a sequence.
// x: [T, C] (rows contiguous, any row stride); weight [C, W]; bias [C] or null.
// state: undefined (sequences start with zeros), or [slots, C, W−1] fp32
// holding the last W−1 inputs, oldest first, read and updated at batch.slots.
// By rows of the batch, so a selected batch convolves over its selected tokens.
// Differentiable in x, weight and bias. No gradient flows into a state, which a
// recording may start from on a CPU alone.
Tensor CausalConv1d(Context& ctx, const Tensor& x, const Weight& weight,
                    const Weight* bias, Activation activation,
                    Tensor state = Tensor());

}  // namespace intarsia
