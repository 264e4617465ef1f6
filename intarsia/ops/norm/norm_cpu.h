// Kernels of one row of n channels. Sums run in an order fixed by n.
#pragma once

#include <cstdint>

namespace intarsia::norm {

// y = x / sqrt(mean(x²) + eps) ⊙ scale; returns the factor 1 / sqrt(...).
float RmsRow(int64_t n, const float* x, const float* scale, float eps,
             float* y);
// dx from g, with the factor that RmsRow returned.
void RmsRowBackward(int64_t n, const float* x, const float* scale,
                    const float* g, float factor, float* dx);

struct Moments {
  float mean;
  float factor;  // 1 / sqrt(variance + eps)
};
// y = (x − mean) · factor ⊙ scale + bias.
Moments LayerRow(int64_t n, const float* x, const float* scale,
                 const float* bias, float eps, float* y);
void LayerRowBackward(int64_t n, const float* x, const float* scale,
                      const float* g, const Moments& moments, float* dx);

}  // namespace intarsia::norm
