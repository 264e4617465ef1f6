// ModelConfig: a model as data, a list of blocks built from registered mixers.
// The native file is `intarsia.json`; families translate foreign configurations
// into it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/ops/norm/norm.h"
#include "intarsia/wiring/sublayer_config.h"

namespace intarsia {

using Json = nlohmann::json;

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
  NormConfig embedding_norm = {.kind = NormConfig::Kind::kNone};  // behind it
  bool learned_positions = false;  // a table of max_positions rows is added
  // Further residual streams, each as wide as the first; they begin as what the
  // blocks begin with. SublayerConfig::from and ::to name them.
  std::vector<std::string> streams;
  std::vector<BlockConfig> blocks;
  NormConfig final_norm;
  bool tied_head = false;  // the head is the token table
  bool head_bias = false;
  float logit_scale = 1.0f;
  // > 0: logits become cap · tanh(logit / cap), after logit_scale.
  float logit_softcap = 0.0f;
  // Ids that begin and end text, as the checkpoint says; -1: none.
  int bos_id = -1;
  std::vector<int> eos_ids;
  // Texts that end an answer. Not part of the JSON: generation_config.json has
  // them and goes along.
  std::vector<std::string> stop_texts;

  // All but the blocks.
  void Visit(Fields& f);

  // Tokens that a sequence can have at all: the rows of the table of positions;
  // 0: no limit (rotary positions go on past max_positions, less well).
  int64_t position_limit() const {
    return learned_positions ? max_positions : 0;
  }
};

// Checks every field; messages start with "[model]" and name the field.
// "blocks" entries may carry "repeat": n.
Result<ModelConfig> ParseModelConfig(const Json& json);
void VisitModelFile(Fields& f);  // of a fresh one
Json ToJson(const ModelConfig& config);

}  // namespace intarsia
