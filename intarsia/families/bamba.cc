// Bamba: Mamba-2 or attention by layer, and a gated unit after each.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

std::vector<TensorMap> MapTensors(const std::vector<bool>& attends, bool tied,
                                  const Mamba2Part& mamba) {
  std::vector<TensorMap> maps;
  MapPairs("", "model.",
           {{"embedding", "embed_tokens.weight"},
            {"final_norm", "final_layernorm.weight"}},
           &maps);
  if (!tied) MapPairs("", "", {{"head", "lm_head.weight"}}, &maps);
  for (size_t i = 0; i < attends.size(); ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "model.layers." + std::to_string(i) + ".";
    MapPairs(ours, theirs,
             {{"0.pre_norm", "input_layernorm.weight"},
              {"1.pre_norm", "pre_ff_layernorm.weight"},
              {"1.gate", "feed_forward.gate_proj.weight"},
              {"1.up", "feed_forward.up_proj.weight"},
              {"1.down", "feed_forward.down_proj.weight"}},
             &maps);
    if (!attends[i]) {
      MapMamba2(mamba, ours + "0.", theirs + "mamba.", &maps);
      continue;
    }
    MapPairs(ours + "0.", theirs + "self_attn.",
             {{"q_proj", "q_proj.weight"},
              {"k_proj", "k_proj.weight"},
              {"v_proj", "v_proj.weight"},
              {"o_proj", "o_proj.weight"}},
             &maps);
  }
  return maps;
}

std::vector<bool> ReadLayers(JsonReader* reader, int layers) {
  std::vector<bool> attends(layers, false);
  const Json* list = reader->Find("attn_layer_indices");
  if (list == nullptr) return attends;
  bool whole = list->is_array();
  for (size_t i = 0; whole && i < list->size(); ++i) {
    const Json& at = (*list)[i];
    whole = at.is_number_integer() && at >= 0 && at < layers;
    if (whole) attends[at.get<int>()] = true;
  }
  reader->RequireField(whole, "attn_layer_indices", "numbers of layers");
  return attends;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "bamba");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "bamba";
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const std::vector<bool> attends = ReadLayers(&reader, layers);
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const int head_dim = reader.IntOr("head_dim", config.dim / heads, 1, 65536);
  const double eps = ReadEps(&reader, "rms_norm_eps", 1e-5);
  const Json unit = {{"hidden", reader.Int("intermediate_size")},
                     {"activation", reader.StringOr("hidden_act", "silu")}};
  reader.Expect("attention_bias", false);
  reader.Expect("mlp_bias", false);
  const int expand = reader.IntOr("mamba_expand", 2, 1, 64);
  const Mamba2Part mamba =
      ReadMamba2Part(&reader, int64_t{expand} * config.dim, eps);
  const Json attention = {
      {"heads", heads},
      {"kv_heads", kv_heads},
      {"head_dim", head_dim},
      {"rope", RopeFromConfig(&reader,
                              {.family = "bamba",
                               .head_dim = head_dim,
                               .max_positions = config.max_positions,
                               .partial = true},
                              "", &model.warnings)}};
  IgnoreBookkeeping(&reader);
  reader.Ignore({"num_logits_to_keep", "z_loss_coefficient", "layer_types",
                 "layers_block_type"});
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = RmsNormConfig(eps);
  config.final_norm = norm;
  for (const bool attend : attends) {
    BlockConfig block;
    block.sublayers = {
        {.mixer = attend ? "attention" : "mamba2",
         .config = (attend ? attention : mamba.config).dump(),
         .pre_norm = norm},
        {.mixer = "glu", .config = unit.dump(), .pre_norm = norm}};
    config.blocks.push_back(std::move(block));
  }
  model.tensors = MapTensors(attends, config.tied_head, mamba);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family BambaFamily() {
  return {.name = "bamba",
          .model_types = {"bamba"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"},
                       {"num_key_value_heads", "8"},
                       {"partial_rotary_factor", "0.5"}}};
}

}  // namespace intarsia
