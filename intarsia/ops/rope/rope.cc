#include "intarsia/ops/rope/rope.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/autograd/tape.h"
#include "intarsia/core/json_reader.h"
#include "intarsia/cuda/kernels.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/rope/rope_cpu.h"
#include "intarsia/ops/rope/rope_cuda.h"

namespace intarsia {
namespace {

const double kPi = std::acos(-1.0);

int RotatedChannels(const RopeConfig& config, int head_dim) {
  const int dim = config.dim == 0 ? head_dim : config.dim;
  CHECK(dim > 0 && dim % 2 == 0 && dim <= head_dim)
      << "rotates " << dim << " of " << head_dim << " channels";
  return dim;
}

// Long waves are slowed down by the factor, short ones kept, and those between
// blended by how many periods fit into the original context.
float ScaleLlama3(const RopeConfig& c, float frequency) {
  const double wavelength = 2 * kPi / frequency;
  const double periods = c.original_max_positions / wavelength;
  if (periods < c.low_freq_factor) {
    return static_cast<float>(frequency / c.factor);
  }
  if (periods > c.high_freq_factor) return frequency;
  const double blend =
      (periods - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return static_cast<float>((1 - blend) * frequency / c.factor +
                            blend * frequency);
}

// The pair (fractional) that makes `turns` turns over the original context.
double YarnPair(const RopeConfig& c, int dim, double turns) {
  return dim * std::log(c.original_max_positions / (turns * 2 * kPi)) /
         (2 * std::log(c.theta));
}

void ScaleYarn(const RopeConfig& c, int dim, std::vector<float>* frequencies) {
  const double low = std::max(0.0, std::floor(YarnPair(c, dim, c.beta_fast)));
  double high = std::min(dim - 1.0, std::ceil(YarnPair(c, dim, c.beta_slow)));
  if (high == low) high += 0.001;
  for (size_t i = 0; i < frequencies->size(); ++i) {
    const double keep =
        1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double f = (*frequencies)[i];
    (*frequencies)[i] =
        static_cast<float>(f / c.factor * (1 - keep) + f * keep);
  }
}

struct Plan {
  std::vector<float> frequencies;
  float scale;
  bool interleaved;
};

// y = x with every head rotated; the channels past the pairs are copied.
Tensor Rotated(Context& ctx, const Tensor& x, const Plan& plan, bool inverse) {
  const int64_t heads = x.dim(1), dim = x.dim(2);
  const int64_t pairs = static_cast<int64_t>(plan.frequencies.size());
  const std::vector<int32_t>& positions = ctx.batch->positions;
  Tensor y = Tensor::Empty(x.shape());
  float* out = y.mutable_data<float>();
  const RowView rows(x);
  ForRange(ctx.pool, x.dim(0), GrainFor(heads * dim),
           [&](int64_t begin, int64_t end) {
             std::vector<float> cosine(pairs), sine(pairs);
             for (int64_t t = begin; t < end; ++t) {
               rope::Angles(pairs, static_cast<float>(positions[t]),
                            plan.frequencies.data(), plan.scale, cosine.data(),
                            sine.data());
               for (int64_t h = 0; h < heads; ++h) {
                 const float* from = rows.row(t * heads + h);
                 float* to = out + (t * heads + h) * dim;
                 rope::Rotate(pairs, plan.interleaved, inverse, from,
                              cosine.data(), sine.data(), to);
                 std::copy(from + 2 * pairs, from + dim, to + 2 * pairs);
               }
             }
           });
  return y;
}

}  // namespace

std::vector<float> RopeFrequencies(const RopeConfig& config, int head_dim) {
  const int dim = RotatedChannels(config, head_dim);
  std::vector<float> frequencies(dim / 2);
  for (int i = 0; i < dim / 2; ++i) {
    // Each step rounds to fp32 as published models do: at position 10,000 a
    // difference in the last bit turns a pair by a thousandth.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const float power = static_cast<float>(
        std::pow(config.theta, static_cast<double>(exponent)));
    frequencies[i] = 1.0f / power;
  }
  const float factor = static_cast<float>(config.factor);
  switch (config.scaling) {
    case RopeConfig::Scaling::kNone:
      break;
    case RopeConfig::Scaling::kLinear:
      for (float& f : frequencies) f /= factor;
      break;
    case RopeConfig::Scaling::kLlama3:
      for (float& f : frequencies) f = ScaleLlama3(config, f);
      break;
    case RopeConfig::Scaling::kYarn:
      ScaleYarn(config, dim, &frequencies);
      break;
  }
  return frequencies;
}

float RopeScale(const RopeConfig& config) {
  if (config.scaling != RopeConfig::Scaling::kYarn) return 1.0f;
  if (config.attention_factor != 0) {
    return static_cast<float>(config.attention_factor);
  }
  if (config.factor <= 1) return 1.0f;
  return static_cast<float>(0.1 * std::log(config.factor) + 1);
}

Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config) {
  if (!config.enabled) return x;
  CHECK_EQ(x.rank(), 3);
  CHECK(ctx.batch != nullptr);
  CHECK_EQ(x.dim(0), ctx.batch->size());
  if (x.device().is_cuda()) {
    return RequireKernels(rope_cuda::kernels, "rope")
        .rope(ctx, x.Contiguous(), config);
  }
  const Plan plan{RopeFrequencies(config, static_cast<int>(x.dim(2))),
                  RopeScale(config), config.interleaved};
  Tensor y = Rotated(ctx, x, plan, false);

  if (ctx.tape != nullptr) {
    // A rotation's transpose turns back; the scale stays.
    ctx.tape->Record(
        "rope", ctx, {x}, {&y},
        [plan](Context& ctx, const std::vector<Tensor>& g) {
          return std::vector<Tensor>{Rotated(ctx, g[0], plan, true)};
        });
  }
  return y;
}

namespace {

Status ParseScaling(const nlohmann::json& json, const std::string& room,
                    RopeConfig* config) {
  JsonReader reader(json, room, {.path = "rope.scaling"});
  const std::string type = reader.StringOr("type", "none");
  config->factor = reader.NumberOr("factor", config->factor);
  reader.RequireField(config->factor >= 1, "factor", "at least 1");
  using Scaling = RopeConfig::Scaling;
  config->scaling = type == "linear"   ? Scaling::kLinear
                    : type == "llama3" ? Scaling::kLlama3
                    : type == "yarn"   ? Scaling::kYarn
                                       : Scaling::kNone;
  reader.RequireField(type == "none" || config->scaling != Scaling::kNone,
                      "type", "\"none\", \"linear\", \"llama3\" or \"yarn\"");
  if (config->scaling == Scaling::kLlama3) {
    config->low_freq_factor =
        reader.NumberOr("low_freq_factor", config->low_freq_factor);
    config->high_freq_factor =
        reader.NumberOr("high_freq_factor", config->high_freq_factor);
    reader.RequireField(config->low_freq_factor > 0, "low_freq_factor",
                        "positive");
    reader.RequireField(config->high_freq_factor > config->low_freq_factor,
                        "high_freq_factor", "above low_freq_factor");
  }
  if (config->scaling == Scaling::kYarn) {
    config->beta_fast = reader.NumberOr("beta_fast", config->beta_fast);
    config->beta_slow = reader.NumberOr("beta_slow", config->beta_slow);
    config->attention_factor =
        reader.NumberOr("attention_factor", config->attention_factor);
    reader.RequireField(config->beta_slow > 0, "beta_slow", "positive");
    reader.RequireField(config->beta_fast >= config->beta_slow, "beta_fast",
                        "at least beta_slow");
    reader.RequireField(config->attention_factor >= 0, "attention_factor",
                        "at least 0");
    reader.RequireField(config->theta > 1, "type",
                        "another than \"yarn\" where theta is 1 or less");
  }
  if (config->scaling == Scaling::kLlama3 ||
      config->scaling == Scaling::kYarn) {
    config->original_max_positions =
        reader.IntOr("original_max_positions", config->original_max_positions);
    reader.RequireField(config->original_max_positions > 0,
                        "original_max_positions", "positive");
  }
  return reader.Finish();
}

}  // namespace

Result<RopeConfig> ParseRope(const nlohmann::json& json,
                             const std::string& room) {
  RopeConfig config;
  if (json.is_boolean()) {
    config.enabled = json.get<bool>();
    return config;
  }
  JsonReader reader(json, room, {.path = "rope"});
  config.theta = reader.NumberOr("theta", config.theta);
  config.dim = reader.IntOr("dim", config.dim);
  config.interleaved = reader.BoolOr("interleaved", config.interleaved);
  const nlohmann::json* scaling = reader.Find("scaling");
  reader.RequireField(config.theta > 0, "theta", "positive");
  reader.RequireField(config.dim % 2 == 0, "dim", "even");
  RETURN_IF_ERROR(reader.Finish());
  if (scaling != nullptr) {
    RETURN_IF_ERROR(ParseScaling(*scaling, room, &config));
  }
  return config;
}

}  // namespace intarsia
