// The angles of README.md's table. Arithmetic is fp32, operation by operation,
// as published models do it: at position 10,000 a difference in the last bit
// turns a pair by a thousandth.
#include <algorithm>
#include <cmath>

#include "intarsia/ops/rope/rope.h"

namespace intarsia {
namespace {

const double kPi = std::acos(-1.0);

// base^(2i / dim), the turn of pair i in positions a radian.
float Period(double base, int i, int dim) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
  return static_cast<float>(std::pow(base, static_cast<double>(exponent)));
}

// Long waves are slowed down by the factor, short ones kept, and those between
// blended by how many periods fit into the original context.
float ScaleLlama3(const RopeConfig& c, float frequency) {
  const auto original = static_cast<float>(c.original_max_positions);
  const auto low = static_cast<float>(c.low_freq_factor);
  const auto factor = static_cast<float>(c.factor);
  const float wavelength = static_cast<float>(2 * kPi) / frequency;
  if (wavelength >
      static_cast<float>(c.original_max_positions / c.low_freq_factor)) {
    return frequency / factor;
  }
  if (wavelength <
      static_cast<float>(c.original_max_positions / c.high_freq_factor)) {
    return frequency;
  }
  // The two lengths are one, and so is this wave's.
  if (c.high_freq_factor == c.low_freq_factor) return frequency;
  const float blend =
      (original / wavelength - low) /
      static_cast<float>(c.high_freq_factor - c.low_freq_factor);
  return (1 - blend) * frequency / factor + blend * frequency;
}

// The base at which a sequence of `length` tokens turns its slowest pair as far
// as one of original_max_positions did.
double DynamicBase(const RopeConfig& c, int dim, int64_t length) {
  if (length <= c.original_max_positions) return c.theta;
  const float ratio = static_cast<float>(c.factor) *
                      static_cast<float>(length) /
                      static_cast<float>(c.original_max_positions);
  const float stretch = ratio - static_cast<float>(c.factor - 1);
  const double exponent = static_cast<double>(dim) / (dim - 2);
  return static_cast<float>(c.theta) *
         static_cast<float>(
             std::pow(double{stretch}, double{static_cast<float>(exponent)}));
}

// The pair (fractional) that makes `turns` turns over the original context.
double YarnPair(const RopeConfig& c, int dim, double turns) {
  return dim * std::log(c.original_max_positions / (turns * 2 * kPi)) /
         (2 * std::log(c.theta));
}

void ScaleYarn(const RopeConfig& c, int dim, const std::vector<float>& periods,
               std::vector<float>* frequencies) {
  double low = YarnPair(c, dim, c.beta_fast);
  double high = YarnPair(c, dim, c.beta_slow);
  if (c.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (high == low) high += 0.001;
  for (size_t i = 0; i < periods.size(); ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) /
                       static_cast<float>(high - low);
    const float keep = 1 - std::clamp(ramp, 0.0f, 1.0f);
    const float slow = 1.0f / (static_cast<float>(c.factor) * periods[i]);
    (*frequencies)[i] = slow * (1 - keep) + (*frequencies)[i] * keep;
  }
}

double YarnScale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1;
}

}  // namespace

std::vector<float> RopeFrequencies(const RopeConfig& config, int head_dim,
                                   int64_t length) {
  using Scaling = RopeConfig::Scaling;
  const int dim = config.dim == 0 ? head_dim : config.dim;
  CHECK(dim > 0 && dim % 2 == 0 && dim <= head_dim)
      << "rotates " << dim << " of " << head_dim << " channels";
  const double base = config.scaling == Scaling::kDynamic
                          ? DynamicBase(config, dim, length)
                          : config.theta;
  const bool past = config.scaling == Scaling::kLongRope &&
                    length > config.original_max_positions;
  const std::vector<float>& divisors =
      past ? config.long_factors : config.factors;
  std::vector<float> periods(dim / 2), frequencies(dim / 2);
  for (int i = 0; i < dim / 2; ++i) {
    periods[i] = Period(base, i, dim);
    if (!divisors.empty()) periods[i] = divisors.at(i) * periods[i];
    frequencies[i] = 1.0f / periods[i];
  }
  const auto factor = static_cast<float>(config.factor);
  switch (config.scaling) {
    case Scaling::kNone:
    case Scaling::kDynamic:
    case Scaling::kLongRope:
      break;
    case Scaling::kLinear:
      for (float& f : frequencies) f /= factor;
      break;
    case Scaling::kLlama3:
      for (float& f : frequencies) f = ScaleLlama3(config, f);
      break;
    case Scaling::kYarn:
      ScaleYarn(config, dim, periods, &frequencies);
      break;
    case Scaling::kProportional: {
      const int turned = static_cast<int>(config.proportion * dim / 2);
      for (int i = 0; i < dim / 2; ++i) {
        frequencies[i] = i < turned ? frequencies[i] / factor : 0.0f;
      }
      break;
    }
  }
  return frequencies;
}

float RopeScale(const RopeConfig& config) {
  if (config.attention_factor.has_value()) {
    return static_cast<float>(*config.attention_factor);
  }
  if (config.scaling == RopeConfig::Scaling::kYarn) {
    if (config.mscale != 0 && config.mscale_all_dim != 0) {
      return static_cast<float>(
          YarnScale(config.factor, config.mscale) /
          YarnScale(config.factor, config.mscale_all_dim));
    }
    return static_cast<float>(YarnScale(config.factor, 1));
  }
  if (config.scaling == RopeConfig::Scaling::kLongRope && config.factor > 1) {
    return static_cast<float>(std::sqrt(
        1 + std::log(config.factor) / std::log(config.original_max_positions)));
  }
  return 1.0f;
}

}  // namespace intarsia
