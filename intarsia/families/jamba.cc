// Jamba: Mamba with norms of its own or attention without positions by layer,
// and experts in some of them.
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

struct Layers {
  int count = 0;
  int attention_period = 8, attention_offset = 4;
  int expert_period = 2, expert_offset = 1;
  int experts = 1;
  bool attends(int i) const {
    return i % attention_period == attention_offset % attention_period;
  }
  bool routes(int i) const {
    return experts > 1 && i % expert_period == expert_offset % expert_period;
  }
};

// Layouts: published, early files with an expert where there is no choice, and
// transformers 5 in memory, so in recorded gradients.
enum class Layout : uint8_t { kFile, kOneExpert, kStacked };

std::vector<TensorMap> MapTensors(const Layers& layers, int64_t hidden,
                                  bool tied, const MambaPart& mamba,
                                  Layout layout) {
  std::vector<TensorMap> maps;
  MapPairs("", "model.",
           {{"embedding", "embed_tokens.weight"},
            {"final_norm", "final_layernorm.weight"}},
           &maps);
  if (!tied) MapPairs("", "", {{"head", "lm_head.weight"}}, &maps);
  const NamePairs unit = {{"gate", "gate_proj.weight"},
                          {"up", "up_proj.weight"},
                          {"down", "down_proj.weight"}};
  for (int i = 0; i < layers.count; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "model.layers." + std::to_string(i) + ".";
    MapPairs(ours, theirs,
             {{"0.pre_norm", "input_layernorm.weight"},
              {"1.pre_norm", "pre_ff_layernorm.weight"}},
             &maps);
    if (layers.attends(i)) {
      MapPairs(ours + "0.", theirs + "self_attn.",
               {{"q_proj", "q_proj.weight"},
                {"k_proj", "k_proj.weight"},
                {"v_proj", "v_proj.weight"},
                {"o_proj", "o_proj.weight"}},
               &maps);
    } else {
      MapMamba(mamba, ours + "0.", theirs + "mamba.", &maps);
    }
    const std::string mlp = theirs + "feed_forward.";
    if (!layers.routes(i)) {
      const char* one = layout == Layout::kOneExpert ? "experts.0." : "";
      MapPairs(ours + "1.", mlp + one, unit, &maps);
      continue;
    }
    MapPairs(ours + "1.", mlp, {{"router", "router.weight"}}, &maps);
    if (layout == Layout::kStacked) {
      const std::string both = mlp + "experts.gate_up_proj";
      maps.push_back({.native = ours + "1.gate",
                      .foreign = both,
                      .row_end = hidden,
                      .row_axis = 1});
      maps.push_back({.native = ours + "1.up",
                      .foreign = both,
                      .row_begin = hidden,
                      .row_end = 2 * hidden,
                      .row_axis = 1});
      MapPairs(ours + "1.", mlp, {{"down", "experts.down_proj"}}, &maps);
      continue;
    }
    for (int e = 0; e < layers.experts; ++e) {
      const size_t first = maps.size();
      MapPairs(ours + "1.", mlp + "experts." + std::to_string(e) + ".", unit,
               &maps);
      for (size_t m = first; m < maps.size(); ++m) maps[m].stack = e;
    }
  }
  return maps;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "jamba");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "jamba";
  Layers layers;
  layers.count = reader.Int("num_hidden_layers", 1, 4096);
  layers.attention_period = reader.IntOr("attn_layer_period", 8, 1);
  layers.attention_offset = reader.IntOr("attn_layer_offset", 4);
  layers.expert_period = reader.IntOr("expert_layer_period", 2, 1);
  layers.expert_offset = reader.IntOr("expert_layer_offset", 1);
  layers.experts = reader.IntOr("num_experts", 16, 1, 1 << 16);
  for (const char* kind : {"attn_layer", "expert_layer"}) {
    const std::string front = kind;
    reader.Require(
        reader.IntOr(front + "_offset", 0) <
            reader.IntOr(front + "_period", 1 << 30),
        "\"" + front + "_offset\" must be less than \"" + front + "_period\"");
  }
  // A small file must not ask for a map of 2^28 tensors.
  reader.Require(int64_t{layers.count} * layers.experts <= 1 << 16,
                 "more than 65536 experts in all layers");
  const int top_k = reader.IntOr("num_experts_per_tok", 2, 1, layers.experts);
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const int hidden = reader.Int("intermediate_size");
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const std::string activation = reader.StringOr("hidden_act", "silu");
  // The convolution and the gate have it too.
  reader.RequireField(activation == "silu", "hidden_act", "\"silu\"");
  const NormConfig norm = RmsNormConfig(ReadEps(&reader, "rms_norm_eps", 1e-6));
  MambaPart mamba;
  mamba.inner = reader.IntOr("mamba_expand", 2, 1, 64) * config.dim;
  mamba.state = reader.IntOr("mamba_d_state", 16, 1, 1 << 12);
  mamba.rank = ReadStepRank(&reader, "mamba_dt_rank", config.dim);
  mamba.conv_bias = reader.BoolOr("mamba_conv_bias", true);
  mamba.bias = reader.BoolOr("mamba_proj_bias", false);
  mamba.Compose(reader.IntOr("mamba_d_conv", 4, 2, 64), norm);
  // No layer has a window.
  reader.Expect("sliding_window", nullptr);
  IgnoreBookkeeping(&reader);
  // The layers again, and how libraries compute.
  reader.Ignore({"use_mamba_kernels", "use_mambapy", "use_associative_scan",
                 "num_logits_to_keep", "calc_logits_for_entire_prompt",
                 "layers_block_type", "layer_types", "mamba_inner_layernorms"});
  RETURN_IF_ERROR(reader.status());
  config.final_norm = norm;
  const Json attention = {
      {"heads", heads}, {"kv_heads", kv_heads}, {"rope", false}};
  const Json experts = {{"experts", layers.experts},
                        {"top_k", top_k},
                        {"hidden", hidden},
                        {"normalize", false}};
  for (int i = 0; i < layers.count; ++i) {
    const bool attends = layers.attends(i), routes = layers.routes(i);
    BlockConfig block;
    block.sublayers = {
        {.mixer = attends ? "attention" : "mamba",
         .config = (attends ? attention : mamba.config).dump(),
         .pre_norm = norm},
        {.mixer = routes ? "moe" : "glu",
         .config = (routes ? experts : Json{{"hidden", hidden}}).dump(),
         .pre_norm = norm}};
    config.blocks.push_back(std::move(block));
  }
  const auto map = [&](Layout layout) {
    return MapTensors(layers, hidden, config.tied_head, mamba, layout);
  };
  model.tensors = map(Layout::kFile);
  model.other_layouts = {map(Layout::kOneExpert), map(Layout::kStacked)};
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family JambaFamily() {
  return {
      .name = "jamba",
      .model_types = {"jamba"},
      .gguf_architectures = {},
      .from_config = FromConfig,
      .from_gguf = nullptr,
      .defaults = {{"num_key_value_heads", "8"}, {"rms_norm_eps", "1e-06"}}};
}

}  // namespace intarsia
