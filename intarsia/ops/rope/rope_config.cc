// The fields of RopeConfig.
#include <nlohmann/json.hpp>

#include "intarsia/core/json_fields.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {
namespace {

using Scaling = RopeConfig::Scaling;

constexpr ChoiceName kTypes[] = {
    {"none", Scaling::kNone},
    {"linear", Scaling::kLinear},
    {"dynamic", Scaling::kDynamic},
    {"llama3", Scaling::kLlama3},
    {"yarn", Scaling::kYarn},
    {"longrope", Scaling::kLongRope},
    {"proportional", Scaling::kProportional},
};
constexpr char kOneAPair[] = "a pair of channels";

void VisitLlama3(Fields& f, RopeConfig* c) {
  f.NumberOr("low_freq_factor", &c->low_freq_factor);
  f.NumberOr("high_freq_factor", &c->high_freq_factor);
  f.RequireField(c->low_freq_factor > 0, "low_freq_factor", "positive");
  f.RequireField(c->high_freq_factor > 0, "high_freq_factor", "positive");
}

void VisitYarn(Fields& f, RopeConfig* c) {
  f.NumberOr("beta_fast", &c->beta_fast);
  f.NumberOr("beta_slow", &c->beta_slow);
  f.BoolOr("truncate", &c->truncate);
  f.NumberOr("mscale", &c->mscale);
  f.NumberOr("mscale_all_dim", &c->mscale_all_dim);
  f.RequireField(c->mscale >= 0, "mscale", "at least 0");
  f.RequireField(c->mscale_all_dim >= 0, "mscale_all_dim", "at least 0");
  f.RequireField(c->beta_slow > 0, "beta_slow", "positive");
  f.RequireField(c->beta_fast > 0, "beta_fast", "positive");
  f.RequireField(c->theta > 1, "type",
                 "another than \"yarn\" where theta is 1 or less");
}

void VisitLongRope(Fields& f, RopeConfig* c, int pairs) {
  f.NumbersOr("short_factor", &c->factors, pairs, kOneAPair);
  f.NumbersOr("long_factor", &c->long_factors, pairs, kOneAPair);
  f.RequireField(!c->factors.empty(), "short_factor", "a list");
  f.RequireField(!c->long_factors.empty(), "long_factor", "a list");
}

// `dim`: rotated channels.
void VisitScaling(Fields& f, RopeConfig* c, int dim) {
  f.ChoiceOr("type", &c->scaling, kTypes);
  f.NumberOr("factor", &c->factor);
  f.RequireField(c->factor > 0, "factor", "positive");
  f.OptionalNumber("attention_factor", &c->attention_factor);
  f.RequireField(c->attention_factor.value_or(0) >= 0, "attention_factor",
                 "at least 0");
  const Scaling scaling = c->scaling;
  f.Case(scaling == Scaling::kLlama3, "llama3",
         [&](Fields& g) { VisitLlama3(g, c); });
  f.Case(scaling == Scaling::kYarn, "yarn",
         [&](Fields& g) { VisitYarn(g, c); });
  f.Case(scaling == Scaling::kLongRope, "longrope",
         [&](Fields& g) { VisitLongRope(g, c, dim / 2); });
  f.Case(scaling == Scaling::kProportional, "proportional", [&](Fields& g) {
    g.NumberOr("proportion", &c->proportion);
    g.RequireField(c->proportion >= 0 && c->proportion <= 1, "proportion",
                   "in [0, 1]");
  });
  f.RequireField(scaling != Scaling::kDynamic || dim > 2, "type",
                 "another than \"dynamic\" for one pair of channels");
  f.Case(c->by_length() || scaling == Scaling::kLlama3 ||
             scaling == Scaling::kYarn,
         "dynamic, llama3, yarn, longrope", [&](Fields& g) {
           g.IntOr("original_max_positions", &c->original_max_positions, {});
           g.RequireField(c->original_max_positions > 0,
                          "original_max_positions", "positive");
         });
  // Its formula divides by the logarithm.
  f.RequireField(scaling != Scaling::kLongRope ||
                     c->attention_factor.has_value() || c->factor <= 1 ||
                     c->original_max_positions > 1,
                 "original_max_positions", "above 1");
}

}  // namespace

void RopeConfig::Visit(Fields& f, int head_dim) {
  f.NumberOr("theta", &theta);
  f.IntOr("dim", &dim, {});
  f.BoolOr("interleaved", &interleaved);
  f.RequireField(theta > 0, "theta", "positive");
  f.RequireField(dim % 2 == 0, "dim", "even");
  f.RequireField(dim <= head_dim, "dim",
                 "at most a head's " + std::to_string(head_dim) + " channels");
  f.Require(dim > 0 || head_dim % 2 == 0,
            "\"rope\" turns pairs: the " + std::to_string(head_dim) +
                " channels of a head must be even");
  const int channels = dim > 0 ? dim : head_dim;
  // Those of longrope stand in its scaling.
  std::vector<float> own;
  if (scaling != Scaling::kLongRope) own = factors;
  f.NumbersOr("factors", &own, channels / 2, kOneAPair);
  if (!f.writing()) factors = own;
  f.Group("scaling", [&](Fields& g) { VisitScaling(g, this, channels); });
  f.Require(own.empty() || scaling != Scaling::kLongRope,
            "\"rope.factors\" stand beside the factors of \"longrope\"; a "
            "model has one or the other");
}

Result<RopeConfig> ParseRope(const nlohmann::json& json, int head_dim,
                             const std::string& room) {
  RopeConfig config;
  RETURN_IF_ERROR(ReadFields({{"rope", json}}, room, [&](Fields& f) {
    f.ObjectOrOff("rope", &config, &RopeConfig::enabled,
                  [&](Fields& g) { config.Visit(g, head_dim); });
  }));
  return config;
}

}  // namespace intarsia
