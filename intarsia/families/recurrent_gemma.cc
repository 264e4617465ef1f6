// RecurrentGemma: Griffin's recurrent blocks and attention with a window, in a
// pattern that repeats.
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/core/dtype.h"
#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

std::vector<TensorMap> MapTensors(const std::vector<bool>& attends,
                                  bool attention_bias) {
  std::vector<TensorMap> maps;
  MapPairs("", "model.",
           {{"embedding", "embed_tokens.weight"},
            {"final_norm", "final_norm.weight"}},
           &maps);
  for (size_t i = 0; i < attends.size(); ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "model.layers." + std::to_string(i) + ".";
    MapPairs(ours, theirs,
             {{"0.pre_norm", "temporal_pre_norm.weight"},
              {"1.pre_norm", "channel_pre_norm.weight"},
              {"1.gate", "mlp_block.gate_proj.weight"},
              {"1.gate_bias", "mlp_block.gate_proj.bias"},
              {"1.up", "mlp_block.up_proj.weight"},
              {"1.up_bias", "mlp_block.up_proj.bias"},
              {"1.down", "mlp_block.down_proj.weight"},
              {"1.down_bias", "mlp_block.down_proj.bias"}},
             &maps);
    const std::string mixer = ours + "0.", block = theirs + "temporal_block.";
    if (attends[i]) {
      MapPairs(mixer, block,
               {{"q_proj", "q_proj.weight"},
                {"k_proj", "k_proj.weight"},
                {"v_proj", "v_proj.weight"},
                {"o_proj", "o_proj.weight"},
                {"o_bias", "o_proj.bias"}},
               &maps);
      if (attention_bias) {
        MapPairs(mixer, block,
                 {{"q_bias", "q_proj.bias"},
                  {"k_bias", "k_proj.bias"},
                  {"v_bias", "v_proj.bias"}},
                 &maps);
      }
      continue;
    }
    MapPairs(mixer, block,
             {{"in_x", "linear_x.weight"},
              {"in_x_bias", "linear_x.bias"},
              {"in_y", "linear_y.weight"},
              {"in_y_bias", "linear_y.bias"},
              {"conv_x_bias", "conv_1d.bias"},
              {"recurrent_param", "rg_lru.recurrent_param"},
              {"out_proj", "linear_out.weight"},
              {"out_bias", "linear_out.bias"}},
             &maps);
    maps.push_back({.native = mixer + "conv_x",
                    .foreign = block + "conv_1d.weight",
                    .unsqueeze = 1});
    for (const std::string gate : {"recurrent_gate", "input_gate"}) {
      // [head, in, out], and its bias by head.
      maps.push_back({.native = mixer + gate,
                      .foreign = block + "rg_lru." + gate + "_weight",
                      .transpose = true});
      maps.push_back({.native = mixer + gate + "_bias",
                      .foreign = block + "rg_lru." + gate + "_bias"});
    }
  }
  return maps;
}

// The kinds of layers: a pattern that repeats.
std::vector<bool> ReadLayers(JsonReader* reader, int layers) {
  const Json fallback = {"recurrent", "recurrent", "attention"};
  const Json* found = reader->Find("block_types");
  const Json& types = found != nullptr ? *found : fallback;
  std::vector<bool> attends(layers, false);
  const bool list = types.is_array() && !types.empty();
  reader->RequireField(list, "block_types", "a list of kinds of layers");
  for (int i = 0; list && i < layers; ++i) {
    const Json& type = types[i % types.size()];
    attends[i] = type == "attention";
    reader->Require(attends[i] || type == "recurrent",
                    "a layer's type is neither \"recurrent\" nor "
                    "\"attention\"",
                    StatusCode::kUnsupported);
  }
  return attends;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "recurrent_gemma");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "recurrent_gemma";
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings", true);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  // The library keeps it in bf16, whatever else it computes in.
  config.embedding_scale =
      ToFloat(ToBF16(std::sqrt(static_cast<float>(config.dim))));
  config.logit_softcap =
      static_cast<float>(reader.NumberOr("logits_soft_cap", 30.0));
  reader.RequireField(config.logit_softcap > 0, "logits_soft_cap", "positive");
  NormConfig norm = RmsNormConfig(ReadEps(&reader, "rms_norm_eps", 1e-6));
  norm.unit_offset = true;
  const std::vector<bool> attends = ReadLayers(&reader, layers);
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const int head_dim = reader.IntOr("head_dim", config.dim / heads, 1, 65536);
  const bool bias = reader.BoolOr("attention_bias", false);
  const int inner = reader.IntOr("lru_width", config.dim, 1, 1 << 20);
  const std::string activation =
      reader.StringOr("hidden_activation", "gelu_pytorch_tanh");
  const int conv = reader.IntOr("conv1d_width", 4, 2, 64);
  // Of both branches of the unit together.
  const int hidden = reader.Int("intermediate_size", 2) / 2;
  const int window = reader.IntOr("attention_window_size", 2048, 1);
  const Json rope = RopeFromConfig(&reader,
                                   {.family = "recurrent_gemma",
                                    .head_dim = head_dim,
                                    .max_positions = config.max_positions,
                                    .partial = true},
                                   "", &model.warnings);
  IgnoreBookkeeping(&reader);
  reader.Ignore({"w_init_variance_scale", "final_w_init_variance_scale",
                 "_block_types", "layers_block_type"});
  RETURN_IF_ERROR(reader.status());
  config.final_norm = norm;
  const Json attention = {
      {"heads", heads},
      {"kv_heads", kv_heads},
      {"head_dim", head_dim},
      {"window", window},
      {"bias", {{"q", bias}, {"k", bias}, {"v", bias}, {"o", true}}},
      {"rope", rope}};
  const Json recurrent = {{"inner", inner},
                          {"heads", heads},
                          {"conv_width", conv},
                          {"activation", activation}};
  const Json unit = {
      {"hidden", hidden}, {"activation", activation}, {"bias", true}};
  for (int i = 0; i < layers; ++i) {
    BlockConfig block;
    block.sublayers = {
        {.mixer = attends[i] ? "attention" : "rg_lru",
         .config = (attends[i] ? attention : recurrent).dump(),
         .pre_norm = norm},
        {.mixer = "glu", .config = unit.dump(), .pre_norm = norm}};
    config.blocks.push_back(std::move(block));
  }
  model.tensors = MapTensors(attends, bias);
  if (!config.tied_head) {
    MapPairs("", "", {{"head", "lm_head.weight"}}, &model.tensors);
  }
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family RecurrentGemmaFamily() {
  return {.name = "recurrent_gemma",
          .model_types = {"recurrent_gemma"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .aliases = {{"sliding_window", "attention_window_size"}},
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"partial_rotary_factor", "0.5"}}};
}

}  // namespace intarsia
