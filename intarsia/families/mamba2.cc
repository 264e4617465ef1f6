// Mamba-2 as transformers publishes it: in_proj holds z, x, B, C, dt, and the
// convolution runs over x, B, C; our mixer names the parts.
#include <nlohmann/json.hpp>

#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

// in_proj holds z, x, B, C and dt, the convolution x, B and C.
const TensorNames& Tensors() {
  static const auto* const table = [] {
    auto* t =
        new TensorNames{.hf_block = "backbone.layers.",
                        .rows = {{"embedding", "backbone.embeddings.weight"},
                                 {"final_norm", "backbone.norm_f.weight"},
                                 {"head", "lm_head.weight"},
                                 {"0.pre_norm", "norm.weight"},
                                 {"0.A_log", "mixer.A_log"},
                                 {"0.D", "mixer.D"},
                                 {"0.dt_bias", "mixer.dt_bias"},
                                 {"0.norm", "mixer.norm.weight"}}};
    for (const std::string part : {"z", "x", "B", "C", "dt"}) {
      t->AddPair("0.in_" + part, "0.in_" + part + "_bias", "mixer.in_proj");
    }
    for (const std::string part : {"x", "B", "C"}) {
      t->AddPair("0.conv_" + part, "0.conv_" + part + "_bias", "mixer.conv1d");
      t->rows[t->rows.size() - 2].unsqueeze = 1;  // [C, 1, W]
    }
    t->AddPair("0.out_proj", "0.out_bias", "mixer.out_proj");
    return t;
  }();
  return *table;
}

// JSON has no infinity; files say Infinity or {"__float__": "Infinity"}.
bool IsTimeStepLimit(const Json& json) {
  const bool pair = json.is_array() && json.size() == 2;
  if (!pair || !json[0].is_number()) return false;
  const Json& high = json[1];
  return high.is_number() || high.is_null() ||
         (high.is_object() && high.value("__float__", Json()) == "Infinity");
}
Json TimeStepLimit(const Json* json, size_t i) {
  return json != nullptr && IsTimeStepLimit(*json) && (*json)[i].is_number()
             ? (*json)[i]
             : Json();
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "mamba2");
  const int dim = reader.Int("hidden_size");
  // The mixer's own bounds: their products fit an int.
  const int heads = reader.Int("num_heads", 1, 1 << 14);
  const int head_dim = reader.Int("head_dim", 1, 1 << 12);
  const int state = reader.Int("state_size", 1, 1 << 12);
  const int groups = reader.IntOr("n_groups", 1, 1, 1 << 14);
  const double eps = ReadEps(&reader, "layer_norm_epsilon", 1e-5);
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  const bool conv_bias = reader.BoolOr("use_conv_bias", true);
  const bool bias = reader.BoolOr("use_bias", false);
  const bool tied = reader.BoolOr("tie_word_embeddings", false);
  const int conv_width = reader.IntOr("conv_kernel", 4, 1, 64);
  // The convolution's; the gate is silu always.
  const std::string activation = reader.StringOr("hidden_act", "silu");
  const Json* limit = reader.Find("time_step_limit");
  reader.RequireField(limit == nullptr || IsTimeStepLimit(*limit),
                      "time_step_limit", "two numbers");
  IgnoreBookkeeping(&reader);
  // Initialisation only; "expand" repeats num_heads × head_dim; the residual is
  // always fp32 here; "chunk_size" is how that implementation computes (its 256
  // would cost us more exponentials, and coarser points to share prefixes at).
  reader.Ignore({"time_step_floor", "time_step_max", "time_step_min",
                 "time_step_rank", "rescale_prenorm_residual", "expand",
                 "residual_in_fp32", "norm_before_gate", "rms_norm",
                 "chunk_size"});
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "mamba2";
  config.vocab_size = reader.Int("vocab_size");
  config.dim = dim;
  config.tied_head = tied;
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  RETURN_IF_ERROR(reader.status());
  config.final_norm = RmsNormConfig(eps);
  Json mixer = {{"heads", heads},
                {"head_dim", head_dim},
                {"state_dim", state},
                {"groups", groups},
                {"conv_width", conv_width},
                {"conv_bias", conv_bias},
                {"conv_activation", activation},
                {"bias", bias},
                {"norm_eps", eps},
                // Each group of the inner channels has a norm of its own.
                {"norm_groups", groups}};
  if (const Json low = TimeStepLimit(limit, 0); !low.is_null()) {
    mixer["dt_min"] = low;
  }
  if (const Json high = TimeStepLimit(limit, 1); !high.is_null()) {
    mixer["dt_max"] = high;
  }
  BlockConfig block;
  block.sublayers = {{"mamba2", mixer.dump(), RmsNormConfig(eps), 1.0f}};
  config.blocks.assign(layers, block);
  model.tensors = MapRows(Tensors(), FileKind::kHuggingFace, config);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family Mamba2Family() {
  return {.name = "mamba2",
          .model_types = {"mamba2"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .base = "backbone.",
          .defaults = {{"layer_norm_epsilon", "1e-05"}, {"n_groups", "8"}}};
}

}  // namespace intarsia
