// Kernels of one row of n logits.
#pragma once

#include <cstdint>

namespace intarsia::cross_entropy {

// log Σ exp(x), the sum in double.
double LogSumExp(int64_t n, const float* x);
// out = factor · exp(x − lse).
void ScaledSoftmax(int64_t n, const float* x, double lse, float factor,
                   float* out);

}  // namespace intarsia::cross_entropy
