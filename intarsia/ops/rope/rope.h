// Rotary position embedding: Su et al. 2021, "RoFormer", and its scalings.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/core/status.h"

namespace intarsia {

struct RopeConfig {
  // kLlama3: Llama 3.1's piecewise scaling by wavelength. kLinear: positions
  // divided by factor. kYarn: Peng et al. 2023, NTK by parts.
  enum class Scaling : uint8_t { kNone, kLinear, kLlama3, kYarn };

  bool enabled = true;
  int dim = 0;  // rotated channels of a head, even; 0: all
  double theta = 10000.0;
  // Pairs are (2i, 2i+1) instead of (i, i + dim/2).
  bool interleaved = false;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // kLlama3
  double beta_fast = 32.0, beta_slow = 1.0;              // kYarn
  double attention_factor = 0.0;   // kYarn; 0: its formula
  int original_max_positions = 0;  // kLlama3, kYarn
};

// {"theta", "dim", "interleaved", "scaling": {"type", "factor", ...}} or false.
Result<RopeConfig> ParseRope(const nlohmann::json& json,
                             const std::string& room);

// Angle per position of each pair, [dim/2], as fp32 of the double formula.
std::vector<float> RopeFrequencies(const RopeConfig& config, int head_dim);
// What the rotated values are multiplied with (YaRN), else 1.
float RopeScale(const RopeConfig& config);

// x: [T, H, head_dim]; rotates the first `dim` channels of each head by the
// angles of ctx.batch's positions. Differentiable in x.
Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config);

}  // namespace intarsia
