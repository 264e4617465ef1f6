#include "intarsia/convert/rope_layout.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "intarsia/ops/rope/rope.h"

namespace intarsia {
namespace {

using Scaling = RopeConfig::Scaling;

// A pair that does not turn: its angle is 0 to fp32 at every position.
constexpr float kNever = 1e30f;

struct ModelRope {
  RopeConfig config;
  int head_dim = 0;
  int dim() const { return config.dim > 0 ? config.dim : head_dim; }
};

// The one rope of all attention layers; none where no layer turns channels.
Result<std::optional<ModelRope>> RopeOf(const ModelConfig& model) {
  std::optional<ModelRope> rope;
  std::string first;
  bool plain = false;  // a layer turns nothing
  for (const BlockConfig& block : model.blocks) {
    for (const SublayerConfig& sublayer : block.sublayers) {
      if (sublayer.mixer != "attention") continue;
      const Json config = Json::parse(sublayer.config);
      const Json json = config.value("rope", Json(false));
      if (json == false) {
        plain = true;
        continue;
      }
      const std::string text = json.dump();
      if (rope.has_value() && text == first) continue;
      if (rope.has_value()) {
        return Unsupported(
            "[convert] layers turn channels by different angles, for which "
            "the other file has no place");
      }
      first = text;
      rope.emplace();
      rope->head_dim = config.value("head_dim", 0);
      ASSIGN_OR_RETURN(rope->config,
                       ParseRope(json, rope->head_dim, "convert"));
    }
  }
  if (rope.has_value() && plain) {
    return Unsupported(
        "[convert] some layers turn no channels, for which the other file has "
        "no place");
  }
  return rope;
}

std::vector<float> PlainFrequencies(const ModelRope& rope) {
  RopeConfig plain;
  plain.theta = rope.config.theta;
  return RopeFrequencies(plain, rope.dim());
}

// Llama 3.1's scaling as divisors, in llama.cpp's order of operations.
std::vector<float> Llama3Divisors(const ModelRope& rope) {
  const RopeConfig& c = rope.config;
  const auto original = static_cast<float>(c.original_max_positions);
  const auto low = static_cast<float>(c.low_freq_factor);
  const auto high = static_cast<float>(c.high_freq_factor);
  const auto factor = static_cast<float>(c.factor);
  std::vector<float> divisors;
  for (const float frequency : PlainFrequencies(rope)) {
    const float wavelength =
        static_cast<float>(2 * std::acos(-1.0)) / frequency;
    if (wavelength > original / low) {
      divisors.push_back(factor);
    } else if (wavelength < original / high || high == low) {
      divisors.push_back(1);
    } else {
      const float blend = (original / wavelength - low) / (high - low);
      divisors.push_back(1 / ((1 - blend) / factor + blend));
    }
  }
  return divisors;
}

// Those that make the plain angles into the model's.
std::vector<float> Divisors(const ModelRope& rope) {
  const std::vector<float> plain = PlainFrequencies(rope);
  const std::vector<float> turned = RopeFrequencies(rope.config, rope.head_dim);
  std::vector<float> divisors;
  for (size_t i = 0; i < plain.size(); ++i) {
    divisors.push_back(turned[i] > 0 ? plain[i] / turned[i] : kNever);
  }
  return divisors;
}

bool Close(const std::vector<float>& a, const std::vector<float>& b) {
  // The last bits of fp32, as far as other implementations round otherwise.
  return std::ranges::equal(a, b, [](float x, float y) {
    return std::abs(x - y) <= 4e-7f * std::abs(y);
  });
}

// The scaling of Llama 3.1 whose divisors these are. Between its two ends the
// reciprocal of a divisor is linear in the frequency: two such pairs give the
// lengths where it begins and ends, up to a common factor of all three numbers,
// fixed by low_freq_factor = 1. Files of one pair or none between the ends are
// those of the published numbers.
std::optional<RopeConfig> AsLlama3(const ModelRope& rope) {
  const std::vector<float>& divisors = rope.config.factors;
  const std::vector<float> plain = PlainFrequencies(rope);
  const double factor = *std::ranges::max_element(divisors);
  if (!(factor > 1)) return std::nullopt;
  std::vector<std::pair<double, double>> between;  // periods a position, blend
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (divisors[i] <= 1 || divisors[i] >= factor) continue;
    between.emplace_back(
        plain[i] / (2 * std::acos(-1.0)),
        (1 / double{divisors[i]} - 1 / factor) / (1 - 1 / factor));
  }
  std::vector<std::pair<double, double>> tries;  // original, high
  if (between.size() >= 2) {
    const auto& [x, blend] = between.front();
    const auto& [y, less] = between.back();
    const double slope = (blend - less) / (x - y);
    const double start = blend - slope * x;
    if (slope > 0 && start < 0) {
      const double high = 1 - 1 / start;
      tries.emplace_back(std::round(-slope / start),
                         std::round(high * 1024) / 1024);
    }
  }
  for (int original = 1 << 20; original >= 16; original /= 2) {
    tries.emplace_back(original, 4.0);
  }
  for (const auto& [original, high] : tries) {
    if (!(original >= 1 && original <= (1 << 30) && high > 1)) continue;
    ModelRope candidate = rope;
    RopeConfig& c = candidate.config;
    c.factors.clear();
    c.scaling = Scaling::kLlama3;
    c.factor = factor;
    c.low_freq_factor = 1;
    c.high_freq_factor = high;
    c.original_max_positions = static_cast<int>(original);
    if (Close(Llama3Divisors(candidate), divisors)) return c;
  }
  return std::nullopt;
}

// A factor for any length.
Json AsLongRope(const ModelRope& rope, int max_positions) {
  const std::vector<float> divisors =
      rope.config.scaling == Scaling::kNone && !rope.config.factors.empty()
          ? rope.config.factors
          : Divisors(rope);
  return {{"rope_type", "longrope"},
          {"short_factor", divisors},
          {"long_factor", divisors},
          {"original_max_position_embeddings", std::max(1, max_positions)},
          {"attention_factor", RopeScale(rope.config)}};
}

}  // namespace

Result<GgufRope> RopeToGguf(const ModelConfig& model) {
  GgufRope out;
  ASSIGN_OR_RETURN(const std::optional<ModelRope> rope, RopeOf(model));
  if (!rope.has_value()) return out;
  const RopeConfig& c = rope->config;
  out.fields["rope.freq_base"] = c.theta;
  out.fields["rope.dimension_count"] = rope->dim();
  const auto scale = [&](const char* type) {
    out.fields["rope.scaling.type"] = type;
  };
  const auto original = [&] {
    out.fields["rope.scaling.original_context_length"] =
        c.original_max_positions;
  };
  // What llama.cpp multiplies cosine and sine with beside its own factor.
  const auto attention = [&](double own) {
    const double times = RopeScale(c) / own;
    if (std::abs(times - 1) > 1e-7) {
      out.fields["rope.scaling.attn_factor"] = times;
    }
  };
  switch (c.scaling) {
    case Scaling::kNone:
    case Scaling::kLinear:
      if (!c.factors.empty()) {
        out.tensors.emplace_back("rope_freqs.weight", c.factors);
      }
      if (c.scaling == Scaling::kLinear) {
        scale("linear");
        out.fields["rope.scaling.factor"] = c.factor;
      }
      attention(1);
      return out;
    case Scaling::kLlama3:
      if (!c.factors.empty()) break;
      out.tensors.emplace_back("rope_freqs.weight", Llama3Divisors(*rope));
      attention(1);
      return out;
    case Scaling::kYarn: {
      if (!c.truncate || !c.factors.empty()) break;
      scale("yarn");
      out.fields["rope.scaling.factor"] = c.factor;
      original();
      if (c.beta_fast != 32) {
        out.fields["rope.scaling.yarn_beta_fast"] = c.beta_fast;
      }
      if (c.beta_slow != 1) {
        out.fields["rope.scaling.yarn_beta_slow"] = c.beta_slow;
      }
      RopeConfig own = c;
      own.attention_factor.reset();
      own.mscale = 0;
      attention(RopeScale(own));
      return out;
    }
    case Scaling::kLongRope:
      scale("longrope");
      original();
      out.fields["rope.scaling.attn_factor"] = RopeScale(c);
      out.tensors.emplace_back("rope_factors_long.weight", c.long_factors);
      out.tensors.emplace_back("rope_factors_short.weight", c.factors);
      return out;
    case Scaling::kDynamic:
      return Unsupported(
          "[convert] GGUF has no place for rope scaling of type dynamic");
    case Scaling::kProportional:
      break;
  }
  scale("none");
  out.tensors.emplace_back("rope_freqs.weight", Divisors(*rope));
  attention(1);
  return out;
}

Result<Json> RopeToConfig(const ModelConfig& model) {
  Json fields = Json::object();
  ASSIGN_OR_RETURN(const std::optional<ModelRope> rope, RopeOf(model));
  if (!rope.has_value()) return fields;
  const RopeConfig& c = rope->config;
  fields["rope_theta"] = c.theta;
  if (rope->dim() != rope->head_dim) {
    return Unsupported("[convert] only " + std::to_string(rope->dim()) +
                       " of the " + std::to_string(rope->head_dim) +
                       " channels of a head turn, for which config.json of "
                       "these models has no place");
  }
  Json scaling;
  const bool plain = c.factors.empty() && !c.attention_factor.has_value();
  if (c.scaling == Scaling::kNone && plain) return fields;
  if (c.scaling == Scaling::kLinear && plain) {
    scaling = {{"rope_type", "linear"}, {"factor", c.factor}};
  } else if (c.scaling == Scaling::kYarn && c.factors.empty()) {
    scaling = {{"rope_type", "yarn"},
               {"factor", c.factor},
               {"original_max_position_embeddings", c.original_max_positions},
               {"beta_fast", c.beta_fast},
               {"beta_slow", c.beta_slow}};
    if (c.attention_factor.has_value()) {
      scaling["attention_factor"] = *c.attention_factor;
    } else if (c.mscale != 0 && c.mscale_all_dim != 0) {
      scaling["mscale"] = c.mscale;
      scaling["mscale_all_dim"] = c.mscale_all_dim;
    }
    if (!c.truncate) scaling["truncate"] = false;
  } else if (c.scaling == Scaling::kLongRope) {
    scaling = {{"rope_type", "longrope"},
               {"short_factor", c.factors},
               {"long_factor", c.long_factors},
               {"original_max_position_embeddings", c.original_max_positions},
               {"attention_factor", RopeScale(c)}};
  } else if (c.scaling == Scaling::kNone || c.scaling == Scaling::kLinear ||
             c.scaling == Scaling::kYarn) {
    std::optional<RopeConfig> llama3;
    if (c.scaling == Scaling::kNone && !c.attention_factor.has_value()) {
      llama3 = AsLlama3(*rope);
    }
    if (llama3.has_value()) {
      scaling = {
          {"rope_type", "llama3"},
          {"factor", llama3->factor},
          {"low_freq_factor", llama3->low_freq_factor},
          {"high_freq_factor", llama3->high_freq_factor},
          {"original_max_position_embeddings", llama3->original_max_positions}};
    } else {
      scaling = AsLongRope(*rope, model.max_positions);
    }
  } else {
    return Unsupported("[convert] this rope scaling does not come from GGUF");
  }
  fields["rope_scaling"] = scaling;
  return fields;
}

}  // namespace intarsia
