// Next-token cross entropy.
#pragma once

#include <span>

#include "intarsia/core/context.h"

namespace intarsia {

// Mean over rows with targets[t] ≥ 0 of −log softmax(logits_t)[targets_t], as a
// tensor [1]. logits: [T, V] fp32. Sums in double. Differentiable in logits.
Tensor CrossEntropy(Context& ctx, const Tensor& logits,
                    std::span<const int32_t> targets);

}  // namespace intarsia
