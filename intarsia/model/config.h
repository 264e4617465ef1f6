// ModelConfig: a model as data, a list of blocks built from registered mixers.
// The native file is `intarsia.json`; families translate foreign configurations
// into it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

using Json = nlohmann::json;

// x ← x + scale · mixer(norm(x)).
struct SublayerConfig {
  std::string mixer;   // a name in a registry: "attention", "glu", "mamba2"
  std::string config;  // the mixer's own JSON object, as text
  NormConfig norm;     // before the mixer
  float residual_scale = 1.0f;
};

// Sublayers one after the other.
struct BlockConfig {
  std::vector<SublayerConfig> sublayers;
};

struct ModelConfig {
  static constexpr int kVersion = 1;

  std::string name;
  int vocab_size = 0;
  int dim = 0;            // D, the width of the residual
  int max_positions = 0;  // what the model was trained for; 0: no limit known
  float embedding_scale = 1.0f;
  bool learned_positions = false;  // a table of max_positions rows is added
  std::vector<BlockConfig> blocks;
  NormConfig final_norm;
  bool tied_head = false;  // the head is the token table
  float logit_scale = 1.0f;
  // Ids that begin and end text, as the checkpoint says; -1: none.
  int bos_id = -1;
  std::vector<int> eos_ids;

  // Tokens that a sequence can have at all: the rows of the table of positions;
  // 0: no limit (rotary positions go on past max_positions, less well).
  int64_t position_limit() const {
    return learned_positions ? max_positions : 0;
  }
};

// Checks every field; messages start with "[model]" and name the field.
// "blocks" entries may carry "repeat": n.
Result<ModelConfig> ParseModelConfig(const Json& json);
Json ToJson(const ModelConfig& config);

}  // namespace intarsia
