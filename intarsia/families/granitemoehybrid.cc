// Granite 4: Mamba-2 or attention by layer, experts with a shared one, and a
// multiplier of each of embedding, scores, residual and logits. Granite 3's
// experts are the same with attention alone.
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

// What a file calls the experts.
struct ExpertNames {
  const char *router, *gate_up, *down;
};
constexpr ExpertNames kExperts = {"router.layer.weight", "input_linear.weight",
                                  "output_linear.weight"};
// transformers 5 in memory, so in recorded gradients.
constexpr ExpertNames kStacked = {"router.weight", "experts.gate_up_proj",
                                  "experts.down_proj"};

struct Dims {
  int layers = 0, experts = 0, hidden = 0, shared = 0;
  bool tied = false;
  std::vector<bool> attends;  // by layer
};

std::vector<TensorMap> MapTensors(const Dims& d, const Mamba2Part& mamba,
                                  const ExpertNames& names) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = "model.embed_tokens.weight"},
      {.native = "final_norm", .foreign = "model.norm.weight"}};
  if (!d.tied) maps.push_back({.native = "head", .foreign = "lm_head.weight"});
  for (int i = 0; i < d.layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "model.layers." + std::to_string(i) + ".";
    const auto map = [&](const std::string& native, const std::string& foreign,
                         int64_t begin = 0, int64_t end = -1, int axis = 0) {
      maps.push_back({.native = ours + native,
                      .foreign = theirs + foreign,
                      .row_begin = begin,
                      .row_end = end,
                      .row_axis = axis});
    };
    map("0.pre_norm", "input_layernorm.weight");
    map("1.pre_norm", "post_attention_layernorm.weight");
    if (d.attends[i]) {
      for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
        map(std::string("0.") + name,
            std::string("self_attn.") + name + ".weight");
      }
    } else {
      MapMamba2(mamba, ours + "0.", theirs + "mamba.", &maps);
    }
    if (d.experts > 0) {
      const std::string moe = "block_sparse_moe.";
      map("1.router", moe + names.router);
      map("1.gate", moe + names.gate_up, 0, d.hidden, 1);
      map("1.up", moe + names.gate_up, d.hidden, 2 * d.hidden, 1);
      map("1.down", moe + names.down);
    }
    if (d.shared == 0) continue;
    const std::string front = d.experts > 0 ? "1.shared_" : "1.";
    map(front + "gate", "shared_mlp.input_linear.weight", 0, d.shared);
    map(front + "up", "shared_mlp.input_linear.weight", d.shared, 2 * d.shared);
    map(front + "down", "shared_mlp.output_linear.weight");
  }
  return maps;
}

void ReadLayers(JsonReader* reader, Dims* d) {
  d->attends.assign(d->layers, false);
  const Json* types = reader->Find("layer_types");
  if (types == nullptr) return;
  const bool each =
      types->is_array() && static_cast<int>(types->size()) == d->layers;
  reader->Require(each, "\"layer_types\" must name each of the layers");
  for (int i = 0; each && i < d->layers; ++i) {
    const Json& type = (*types)[i];
    d->attends[i] = type == "full_attention" || type == "attention";
    reader->Require(
        d->attends[i] || type == "linear_attention" || type == "mamba",
        "a layer type is neither \"linear_attention\" nor \"full_attention\"",
        StatusCode::kUnsupported);
  }
}

Result<FamilyModel> FromConfig(const Json& json) {
  const std::string type = json.value("model_type", "");
  const bool hybrid = type == "granitemoehybrid";
  JsonReader reader(json, type);
  const auto scale = [&](const char* name) {
    return static_cast<float>(reader.NumberOr(name, 1.0));
  };
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = type;
  Dims d;
  d.layers = reader.Int("num_hidden_layers", 1, 4096);
  d.hidden = reader.Int("intermediate_size");
  d.shared = hybrid ? reader.IntOr("shared_intermediate_size", 1024, 1, 1 << 24)
             : type == "granitemoeshared"
                 ? reader.IntOr("shared_intermediate_size", 0, 0, 1 << 24)
                 : 0;
  d.experts = reader.IntOr("num_local_experts", 8, 0, 65536);
  const int top_k =
      reader.IntOr("num_experts_per_tok", 2, 0, std::max(1, d.experts));
  d.tied = reader.BoolOr("tie_word_embeddings", false);
  if (hybrid) {
    ReadLayers(&reader, &d);
  } else {
    d.attends.assign(d.layers, true);
    reader.RequireField(d.experts > 0, "num_local_experts", "positive");
  }
  config.dim = reader.Int("hidden_size");
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = d.tied;
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  config.embedding_scale = scale("embedding_multiplier");
  const float logits = scale("logits_scaling");
  reader.RequireField(logits > 0, "logits_scaling", "positive");
  config.logit_scale = 1.0f / logits;
  const float residual = scale("residual_multiplier");
  const double scores = reader.NumberOr("attention_multiplier", 1.0);
  reader.RequireField(scores > 0, "attention_multiplier", "positive");
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const int head_dim = reader.IntOr("head_dim", config.dim / heads, 1, 65536);
  const double eps = ReadEps(&reader, "rms_norm_eps", 1e-6);
  const std::string activation = reader.StringOr("hidden_act", "silu");
  reader.Expect("attention_bias", false);
  Mamba2Part mamba;
  if (hybrid) {
    const int expand = reader.IntOr("mamba_expand", 2, 1, 64);
    mamba = ReadMamba2Part(&reader, int64_t{expand} * config.dim, eps);
  }
  const Json rope = RopeFromConfig(&reader,
                                   {.family = type.c_str(),
                                    .head_dim = head_dim,
                                    .max_positions = config.max_positions},
                                   "", &model.warnings);
  const std::string positions =
      hybrid ? reader.StringOr("position_embedding_type", "nope") : "rope";
  reader.RequireField(positions == "nope" || positions == "rope",
                      "position_embedding_type", "\"rope\" or \"nope\"");
  IgnoreBookkeeping(&reader);
  RETURN_IF_ERROR(reader.status());
  const Json attention = {{"heads", heads},
                          {"kv_heads", kv_heads},
                          {"head_dim", head_dim},
                          {"scale", scores},
                          {"rope", positions == "rope" ? rope : Json(false)}};
  const Json experts = {{"experts", d.experts},
                        {"top_k", top_k},
                        {"hidden", d.hidden},
                        {"activation", activation},
                        {"shared_hidden", d.shared}};
  const Json unit = {{"hidden", d.shared}, {"activation", activation}};
  const NormConfig norm = RmsNormConfig(eps);
  config.final_norm = norm;
  for (int i = 0; i < d.layers; ++i) {
    BlockConfig block;
    block.sublayers = {
        {.mixer = d.attends[i] ? "attention" : "mamba2",
         .config = (d.attends[i] ? attention : mamba.config).dump(),
         .pre_norm = norm,
         .residual_scale = residual},
        {.mixer = d.experts > 0 ? "moe" : "glu",
         .config = (d.experts > 0 ? experts : unit).dump(),
         .pre_norm = norm,
         .residual_scale = residual}};
    config.blocks.push_back(std::move(block));
  }
  model.tensors = MapTensors(d, mamba, kExperts);
  if (d.experts > 0) {
    model.other_layouts.push_back(MapTensors(d, mamba, kStacked));
  }
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family GraniteMoeHybridFamily() {
  return {.name = "granitemoehybrid",
          .model_types = {"granitemoehybrid"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .aliases = {{"layers_block_type", "layer_types"}},
          .defaults = {{"rms_norm_eps", "1e-06"}}};
}

}  // namespace intarsia
