// xIELU, an activation with learned slopes: Huang and Schlag 2024, "Deriving
// Activation Functions Using Integration". With p = softplus(alpha_p) and
// n = beta + softplus(alpha_n):
//
//   x > 0:  p x² + beta x      else:  n (exp(min(x, eps)) − 1 − x) + beta x
#pragma once

#include <array>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

// alpha_p, alpha_n, beta, eps, [1] each.
using XieluWeights = std::array<const Weight*, 4>;

// On the CPU. Differentiable in x and in all four.
Tensor Xielu(Context& ctx, const Tensor& x, const XieluWeights& weights);
double ReferenceXielu(double x, const std::array<double, 4>& parameters);

}  // namespace intarsia
