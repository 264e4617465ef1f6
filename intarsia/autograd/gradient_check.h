// Compares the tape's gradients with finite differences of the same function.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/autograd/tape.h"

namespace intarsia {

// The function under test: its inputs and, through `weights` captured by the
// caller, weights. Runs with and without ctx.tape.
using CheckedFunction =
    std::function<Tensor(Context& ctx, const std::vector<Tensor>& inputs)>;

struct GradientCheckOptions {
  // Differences are taken at ±step and ±step/2, times the tensor's root mean
  // square, and extrapolated (error of the fourth order).
  double step = 0.03;
  int coordinates = 24;  // of each tensor, drawn at random
  uint64_t seed = 1;
};

// |tape − differences| over the larger of the two and the root mean square of
// the tensor's gradient; the largest over the coordinates.
struct GradientError {
  std::string name;  // "input 0", or the weight's name
  double max_relative = 0;
};

// The scalar is Σ c ⊙ function(inputs) with fixed random c, summed in double.
// Inputs are contiguous fp32 on the CPU, weights plain fp32; both are changed
// for the differences and put back. Each gradient is compared; a missing one
// counts as zero. Weights become trainable for the call.
std::vector<GradientError> CheckGradients(
    const Context& ctx, std::vector<Tensor> inputs,
    const std::vector<Weight*>& weights, const CheckedFunction& function,
    const GradientCheckOptions& options = GradientCheckOptions());

}  // namespace intarsia
