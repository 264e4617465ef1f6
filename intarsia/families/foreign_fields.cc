#include "intarsia/families/foreign_fields.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace intarsia {
namespace {

struct Origin {
  const char* ours;  // how a quotation of the message begins
  std::vector<std::string_view> theirs;  // how their names end
};

const std::vector<Origin>& Origins() {
  static const auto* origins = new std::vector<Origin>{
      {"\"heads",
       {"num_attention_heads", "n_head", "num_heads", "attention.head_count"}},
      {"\"kv_heads",
       {"num_key_value_heads", "num_attention_heads",
        "attention.head_count_kv"}},
      {"\"head_dim",
       {"head_dim", "num_attention_heads", "n_head", "hidden_size", "n_embd",
        "attention.key_length", "attention.head_count", "embedding_length"}},
      {"channels of a head",
       {"head_dim", "num_attention_heads", "n_head", "num_heads", "hidden_size",
        "n_embd", "expand_k"}},
      {"\"rope",
       {"rope_parameters", "rope_scaling", "rope_theta", "rope.freq_base",
        "rope.scaling.type", "rope.scaling.factor", "rope.dimension_count",
        "rope.scaling.original_context_length"}},
      {"\"hidden",
       {"intermediate_size", "n_inner", "n_embd", "hidden_ratio",
        "feed_forward_length"}},
      {"activation", {"hidden_act", "activation_function"}},
      {"\"groups", {"n_groups"}},
      {"\"state_dim", {"state_size"}},
      {"\"conv_width", {"conv_kernel"}},
      {"\"dt_", {"time_step_limit"}},
      {"\"key_dim", {"expand_k", "num_heads", "hidden_size"}},
      {"\"value_dim", {"expand_v", "num_heads", "hidden_size"}},
      {"\"window", {"sliding_window"}},
      {"\"experts", {"num_local_experts", "expert_count"}},
      {"\"top_k", {"num_experts_per_tok", "expert_used_count"}},
      {"eps", {"rms_norm_eps", "layer_norm_epsilon", "norm_eps"}}};
  return *origins;
}

}  // namespace

Status NameForeignFields(const Status& status, const nlohmann::json& config) {
  if (status.ok() || !config.is_object()) return status;
  std::string names;
  for (const Origin& origin : Origins()) {
    if (status.message().find(origin.ours) == std::string::npos) continue;
    for (const auto& [key, unused] : config.items()) {
      for (const std::string_view theirs : origin.theirs) {
        const std::string quoted = "\"" + key + "\"";
        if (!key.ends_with(theirs) || names.find(quoted) != std::string::npos) {
          continue;
        }
        names += (names.empty() ? "" : ", ") + quoted;
      }
    }
  }
  if (names.empty()) return status;
  return {status.code(), status.message() + "; it follows from " + names};
}

}  // namespace intarsia
