// SublayerConfig: how a mixer joins the residual, as data.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

// What a sublayer's mixer works on.
enum class SublayerInput : uint8_t {
  kResidual,  // the residual so far
  kBlock,     // the residual as it came into the block: a parallel residual
  kPrevious,  // what the sublayer before worked on, already normed
};

// x ← x + residual_scale · post_norm(mixer(pre_norm(input))).
struct SublayerConfig {
  std::string mixer;    // the name of a primitive: "attention", "glu", "mamba2"
  std::string config;   // the mixer's own JSON object, as text
  NormConfig pre_norm;  // before the mixer; none of its own with kPrevious
  float residual_scale = 1.0f;
  NormConfig post_norm = {.kind = NormConfig::Kind::kNone};
  SublayerInput input = SublayerInput::kResidual;
  // The result takes the residual's place instead of being added.
  bool replace = false;

  // Named values of the model, [T, width] each: "embedding" is what the
  // blocks begin with, others are those that sublayers before wrote.
  struct Named {
    std::string name;
    int dim = 0;
  };
  std::vector<Named> concat = {};  // joined to the input, before pre_norm
  // Another residual stream than the model's, D wide, in its place: read by
  // input kResidual, and written. Empty: the model's.
  std::string from = {}, to = {};
  std::string save_as = {};  // the residual after this sublayer under a name

  int concat_width() const {
    int width = 0;
    for (const Named& named : concat) width += named.dim;
    return width;
  }
};

// `room` starts messages, `place` is the path of the object; `first`: no
// sublayer stands before it.
Result<SublayerConfig> ParseSublayer(const nlohmann::json& json,
                                     const std::string& room,
                                     const std::string& place, bool first);
nlohmann::json ToJson(const SublayerConfig& config);

// The entries of `list`, which stands at `place`; at most 256.
Result<std::vector<SublayerConfig>> ParseSublayers(const nlohmann::json& list,
                                                   const std::string& room,
                                                   const std::string& place);

nlohmann::json NormJson(const NormConfig& norm);

}  // namespace intarsia
