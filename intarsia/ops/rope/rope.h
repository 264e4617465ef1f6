// Rotary position embedding: Su et al. 2021, "RoFormer", and its scalings.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/core/fields.h"

namespace intarsia {

struct RopeConfig {
  // README.md has the equation of each. kLinear: positions divided by factor.
  // kDynamic: a base that grows with the sequence. kLlama3: Llama 3.1's by
  // wavelength. kYarn: Peng et al. 2023, NTK by parts. kLongRope: Ding et al.
  // 2024, a divisor a pair. kProportional: the first share of the pairs.
  enum class Scaling : uint8_t {
    kNone,
    kLinear,
    kDynamic,
    kLlama3,
    kYarn,
    kLongRope,
    kProportional
  };

  bool enabled = true;
  int dim = 0;  // rotated channels of a head, even; 0: all
  double theta = 10000.0;
  // Pairs are (2i, 2i+1) instead of (i, i + dim/2).
  bool interleaved = false;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;                                   // not kProportional's
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // kLlama3
  double beta_fast = 32.0, beta_slow = 1.0;              // kYarn
  bool truncate = true;  // kYarn: the ends of the ramp are whole pairs
  // kYarn: count together, and where attention_factor is not given.
  double mscale = 0.0, mscale_all_dim = 0.0;
  double proportion = 1.0;  // kProportional
  // What the rotated values are multiplied with, at least 0. Not given: the
  // scaling's own formula, which is 1 but for kYarn and kLongRope.
  std::optional<double> attention_factor = {};
  int original_max_positions = 0;  // kDynamic, kLlama3, kYarn, kLongRope
  // Divisors of the pairs' plain frequencies, before any scaling; empty: 1.
  // kLongRope: those of sequences up to original_max_positions, and of longer
  // ones.
  std::vector<float> factors = {}, long_factors = {};

  // `head_dim`: channels of a head.
  void Visit(Fields& f, int head_dim);

  // The angles depend on how long the sequence is.
  bool by_length() const {
    return scaling == Scaling::kDynamic || scaling == Scaling::kLongRope;
  }
};

// {"theta", "dim", "interleaved", "factors": [...], "scaling": {"type",
// "factor", ...}} or false. `head_dim`: channels of a head.
Result<RopeConfig> ParseRope(const nlohmann::json& json, int head_dim,
                             const std::string& room);

// Angle per position of each pair, [dim/2], rounded to fp32 at each step, in a
// sequence of `length` tokens (0: a short one).
std::vector<float> RopeFrequencies(const RopeConfig& config, int head_dim,
                                   int64_t length = 0);
// What the rotated values are multiplied with.
float RopeScale(const RopeConfig& config);

// x: [T, H, head_dim]; rotates the first `dim` channels of each head by the
// angles of ctx.batch's positions. Differentiable in x.
Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config);

}  // namespace intarsia
