// Mamba-2 as transformers publishes it: in_proj holds z, x, B, C, dt, and the
// convolution runs over x, B, C; our mixer names the parts.
#include <nlohmann/json.hpp>

#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

struct Dims {
  int layers, heads, inner, groups_state;  // groups_state: groups × state
  bool conv_bias, bias, tied;
};

std::vector<TensorMap> MapTensors(const Dims& d) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = "backbone.embeddings.weight"},
      {.native = "final_norm", .foreign = "backbone.norm_f.weight"}};
  if (!d.tied) maps.push_back({.native = "head", .foreign = "lm_head.weight"});
  for (int i = 0; i < d.layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".0.";
    const std::string theirs = "backbone.layers." + std::to_string(i) + ".";
    auto map = [&](const std::string& native, const std::string& foreign) {
      maps.push_back({.native = ours + native, .foreign = theirs + foreign});
    };
    // Consecutive rows of one foreign tensor.
    auto split = [&](const std::string& foreign,
                     std::initializer_list<std::pair<const char*, int>> parts,
                     int unsqueeze) {
      int64_t row = 0;
      for (const auto& [native, rows] : parts) {
        maps.push_back({.native = ours + native,
                        .foreign = theirs + foreign,
                        .row_begin = row,
                        .row_end = row + rows,
                        .unsqueeze = unsqueeze});
        row += rows;
      }
    };
    map("pre_norm", "norm.weight");
    const int gn = d.groups_state;
    split("mixer.in_proj.weight",
          {{"in_z", d.inner},
           {"in_x", d.inner},
           {"in_B", gn},
           {"in_C", gn},
           {"in_dt", d.heads}},
          -1);
    split("mixer.conv1d.weight",
          {{"conv_x", d.inner}, {"conv_B", gn}, {"conv_C", gn}}, 1);
    if (d.conv_bias) {
      split(
          "mixer.conv1d.bias",
          {{"conv_x_bias", d.inner}, {"conv_B_bias", gn}, {"conv_C_bias", gn}},
          -1);
    }
    map("A_log", "mixer.A_log");
    map("D", "mixer.D");
    map("dt_bias", "mixer.dt_bias");
    map("norm", "mixer.norm.weight");
    map("out_proj", "mixer.out_proj.weight");
    if (!d.bias) continue;
    split("mixer.in_proj.bias",
          {{"in_z_bias", d.inner},
           {"in_x_bias", d.inner},
           {"in_B_bias", gn},
           {"in_C_bias", gn},
           {"in_dt_bias", d.heads}},
          -1);
    map("out_bias", "mixer.out_proj.bias");
  }
  return maps;
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
  Dims d{.layers = reader.Int("num_hidden_layers", 1, 4096),
         .heads = heads,
         .inner = heads * head_dim,
         .groups_state = groups * state,
         .conv_bias = reader.BoolOr("use_conv_bias", true),
         .bias = reader.BoolOr("use_bias", false),
         .tied = reader.BoolOr("tie_word_embeddings", false)};
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
  config.tied_head = d.tied;
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  RETURN_IF_ERROR(reader.status());
  config.final_norm = RmsNormConfig(eps);
  Json mixer = {{"heads", heads},
                {"head_dim", head_dim},
                {"state_dim", state},
                {"groups", groups},
                {"conv_width", conv_width},
                {"conv_bias", d.conv_bias},
                {"conv_activation", activation},
                {"bias", d.bias},
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
  config.blocks.assign(d.layers, block);
  model.tensors = MapTensors(d);
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
