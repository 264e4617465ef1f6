// RopeConfig from a room's JSON.
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/core/json_reader.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using Scaling = RopeConfig::Scaling;

constexpr std::pair<const char*, Scaling> kTypes[] = {
    {"none", Scaling::kNone},
    {"linear", Scaling::kLinear},
    {"dynamic", Scaling::kDynamic},
    {"llama3", Scaling::kLlama3},
    {"yarn", Scaling::kYarn},
    {"longrope", Scaling::kLongRope},
    {"proportional", Scaling::kProportional},
};

// A divisor a pair.
std::vector<float> ReadFactors(JsonReader* reader, const char* name,
                               int pairs) {
  const Json* list = reader->Find(name);
  std::vector<float> factors;
  if (list == nullptr) return factors;
  bool right = list->is_array() && list->size() == static_cast<size_t>(pairs);
  for (size_t i = 0; right && i < list->size(); ++i) {
    right = (*list)[i].is_number();
    if (!right) break;
    factors.push_back((*list)[i].get<float>());
    right = std::isfinite(factors.back()) && factors.back() > 0;
  }
  reader->RequireField(right, name,
                       "a list of " + std::to_string(pairs) +
                           " positive numbers, one a pair of channels");
  return factors;
}

void ReadYarn(JsonReader* reader, RopeConfig* config) {
  config->beta_fast = reader->NumberOr("beta_fast", config->beta_fast);
  config->beta_slow = reader->NumberOr("beta_slow", config->beta_slow);
  config->truncate = reader->BoolOr("truncate", config->truncate);
  config->mscale = reader->NumberOr("mscale", 0.0);
  config->mscale_all_dim = reader->NumberOr("mscale_all_dim", 0.0);
  for (const char* name : {"mscale", "mscale_all_dim"}) {
    reader->RequireField(reader->NumberOr(name, 0.0) >= 0, name, "at least 0");
  }
  reader->RequireField(config->beta_slow > 0, "beta_slow", "positive");
  reader->RequireField(config->beta_fast > 0, "beta_fast", "positive");
  reader->RequireField(config->theta > 1, "type",
                       "another than \"yarn\" where theta is 1 or less");
}

Status ReadScaling(const Json& json, int dim, const std::string& room,
                   RopeConfig* config) {
  JsonReader reader(json, room, {.path = "rope.scaling"});
  const std::string type = reader.StringOr("type", "none");
  bool known = false;
  for (const auto& [name, scaling] : kTypes) {
    if (type != name) continue;
    config->scaling = scaling;
    known = true;
  }
  reader.RequireField(known, "type",
                      "\"none\", \"linear\", \"dynamic\", \"llama3\", "
                      "\"yarn\", \"longrope\" or \"proportional\"");
  config->factor = reader.NumberOr("factor", config->factor);
  reader.RequireField(config->factor > 0, "factor", "positive");
  if (reader.Find("attention_factor") != nullptr) {
    config->attention_factor = reader.NumberOr("attention_factor", 1.0);
    reader.RequireField(*config->attention_factor >= 0, "attention_factor",
                        "at least 0");
  }
  switch (config->scaling) {
    case Scaling::kLlama3:
      config->low_freq_factor =
          reader.NumberOr("low_freq_factor", config->low_freq_factor);
      config->high_freq_factor =
          reader.NumberOr("high_freq_factor", config->high_freq_factor);
      reader.RequireField(config->low_freq_factor > 0, "low_freq_factor",
                          "positive");
      reader.RequireField(config->high_freq_factor > 0, "high_freq_factor",
                          "positive");
      break;
    case Scaling::kYarn:
      ReadYarn(&reader, config);
      break;
    case Scaling::kLongRope:
      config->factors = ReadFactors(&reader, "short_factor", dim / 2);
      config->long_factors = ReadFactors(&reader, "long_factor", dim / 2);
      reader.RequireField(!config->factors.empty(), "short_factor", "a list");
      reader.RequireField(!config->long_factors.empty(), "long_factor",
                          "a list");
      break;
    case Scaling::kProportional:
      config->proportion = reader.NumberOr("proportion", 1.0);
      reader.RequireField(config->proportion >= 0 && config->proportion <= 1,
                          "proportion", "in [0, 1]");
      break;
    case Scaling::kDynamic:
      reader.RequireField(dim > 2, "type",
                          "another than \"dynamic\" for one pair of channels");
      break;
    case Scaling::kNone:
    case Scaling::kLinear:
      break;
  }
  if (config->by_length() || config->scaling == Scaling::kLlama3 ||
      config->scaling == Scaling::kYarn) {
    config->original_max_positions =
        reader.IntOr("original_max_positions", config->original_max_positions);
    reader.RequireField(config->original_max_positions > 0,
                        "original_max_positions", "positive");
  }
  // Its formula divides by the logarithm.
  reader.RequireField(config->scaling != Scaling::kLongRope ||
                          config->attention_factor.has_value() ||
                          config->factor <= 1 ||
                          config->original_max_positions > 1,
                      "original_max_positions", "above 1");
  return reader.Finish();
}

}  // namespace

Result<RopeConfig> ParseRope(const Json& json, int head_dim,
                             const std::string& room) {
  RopeConfig config;
  if (json.is_boolean()) {
    config.enabled = json.get<bool>();
    if (!config.enabled) return config;
  }
  const Json fields = json.is_boolean() ? Json::object() : json;
  JsonReader reader(fields, room, {.path = "rope"});
  config.theta = reader.NumberOr("theta", config.theta);
  config.dim = reader.IntOr("dim", config.dim);
  config.interleaved = reader.BoolOr("interleaved", config.interleaved);
  reader.RequireField(config.theta > 0, "theta", "positive");
  reader.RequireField(config.dim % 2 == 0, "dim", "even");
  reader.RequireField(
      config.dim <= head_dim, "dim",
      "at most a head's " + std::to_string(head_dim) + " channels");
  reader.Require(config.dim > 0 || head_dim % 2 == 0,
                 "\"rope\" turns pairs: the " + std::to_string(head_dim) +
                     " channels of a head must be even");
  const int dim = config.dim > 0 ? config.dim : head_dim;
  config.factors = ReadFactors(&reader, "factors", dim / 2);
  const Json* scaling = reader.Find("scaling");
  RETURN_IF_ERROR(reader.Finish());
  if (scaling == nullptr) return config;
  const bool factors = !config.factors.empty();
  RETURN_IF_ERROR(ReadScaling(*scaling, dim, room, &config));
  if (factors && config.scaling == Scaling::kLongRope) {
    return InvalidArgument("[" + room +
                           "] \"rope.factors\" stand beside the factors of "
                           "\"longrope\"; a model has one or the other");
  }
  return config;
}

}  // namespace intarsia
