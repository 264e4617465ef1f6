// Nemotron-H and Nemotron 3: layers of one mixer each, by a pattern: Mamba-2,
// attention without positions, a unit with squared ReLU, or experts of it.
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

enum class Kind : uint8_t { kMamba, kAttention, kMlp, kMoe };

struct Dims {
  std::vector<Kind> layers;
  bool tied = false, mlp_bias = false, attention_bias = false;
  int experts = 0, latent = 0;
  bool shared = false;
};

std::vector<TensorMap> MapTensors(const Dims& d, const Mamba2Part& mamba,
                                  bool stacked) {
  std::vector<TensorMap> maps;
  MapPairs(
      "", "backbone.",
      {{"embedding", "embeddings.weight"}, {"final_norm", "norm_f.weight"}},
      &maps);
  if (!d.tied) MapPairs("", "", {{"head", "lm_head.weight"}}, &maps);
  for (size_t i = 0; i < d.layers.size(); ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".0.";
    const std::string layer = "backbone.layers." + std::to_string(i) + ".";
    const std::string theirs = layer + "mixer.";
    MapPairs(ours, layer, {{"pre_norm", "norm.weight"}}, &maps);
    switch (d.layers[i]) {
      case Kind::kMamba:
        MapMamba2(mamba, ours, theirs, &maps);
        break;
      case Kind::kAttention:
        for (const std::string p : {"q", "k", "v", "o"}) {
          maps.push_back({.native = ours + p + "_proj",
                          .foreign = theirs + p + "_proj.weight"});
          if (!d.attention_bias) continue;
          maps.push_back({.native = ours + p + "_bias",
                          .foreign = theirs + p + "_proj.bias"});
        }
        break;
      case Kind::kMlp:
        MapPairs(ours, theirs,
                 {{"up", "up_proj.weight"}, {"down", "down_proj.weight"}},
                 &maps);
        if (d.mlp_bias) {
          MapPairs(
              ours, theirs,
              {{"up_bias", "up_proj.bias"}, {"down_bias", "down_proj.bias"}},
              &maps);
        }
        break;
      case Kind::kMoe:
        MapPairs(ours, theirs,
                 {{"router", "gate.weight"},
                  {"select_bias", "gate.e_score_correction_bias"}},
                 &maps);
        if (d.shared) {
          MapPairs(ours, theirs,
                   {{"shared_up", "shared_experts.up_proj.weight"},
                    {"shared_down", "shared_experts.down_proj.weight"}},
                   &maps);
        }
        if (d.latent > 0) {
          MapPairs(ours, theirs,
                   {{"latent_down", "fc1_latent_proj.weight"},
                    {"latent_up", "fc2_latent_proj.weight"}},
                   &maps);
        }
        if (stacked) {
          MapPairs(ours, theirs + "experts.",
                   {{"up", "up_proj"}, {"down", "down_proj"}}, &maps);
          break;
        }
        for (int e = 0; e < d.experts; ++e) {
          const std::string one = theirs + "experts." + std::to_string(e) + ".";
          maps.push_back({.native = ours + "up",
                          .foreign = one + "up_proj.weight",
                          .stack = e});
          maps.push_back({.native = ours + "down",
                          .foreign = one + "down_proj.weight",
                          .stack = e});
        }
        break;
    }
  }
  return maps;
}

// A name a layer, or a letter of the older pattern.
void ReadLayers(JsonReader* reader, Dims* d) {
  const Json* types = reader->Find("layers_block_type");
  const std::string pattern = reader->StringOr("hybrid_override_pattern", "");
  const auto add = [&](const std::string& type) {
    if (type == "linear_attention" || type == "mamba" || type == "M") {
      d->layers.push_back(Kind::kMamba);
    } else if (type == "full_attention" || type == "attention" || type == "*") {
      d->layers.push_back(Kind::kAttention);
    } else if (type == "mlp" || type == "-") {
      d->layers.push_back(Kind::kMlp);
    } else if (type == "moe" || type == "E") {
      d->layers.push_back(Kind::kMoe);
    } else {
      reader->Require(false, "layers of type \"" + type + "\" are not known",
                      StatusCode::kUnsupported);
    }
  };
  if (types != nullptr && types->is_array() && types->size() <= 4096) {
    for (const Json& type : *types) {
      add(type.is_string() ? type.get<std::string>() : type.dump());
    }
  } else if (types == nullptr && pattern.size() <= 4096) {
    for (const char letter : pattern) add(std::string(1, letter));
  }
  const int layers =
      reader->IntOr("num_hidden_layers", static_cast<int>(d->layers.size()), 1);
  reader->Require(
      !d->layers.empty() && layers == static_cast<int>(d->layers.size()),
      "\"layers_block_type\" must name each of the layers");
}

Json ReadExperts(JsonReader* reader, Dims* d, const std::string& activation) {
  d->experts = reader->IntOr("n_routed_experts", 8, 1, 1 << 16);
  // A small file must not ask for a map of 2^28 tensors.
  reader->Require(
      static_cast<int64_t>(d->layers.size()) * d->experts <= 1 << 16,
      "more than 65536 experts in all layers");
  d->latent = reader->IntOr("moe_latent_size", 0, 0, 1 << 24);
  d->shared = reader->IntOr("n_shared_experts", 1, 0, 1) > 0;
  reader->Require(d->latent == 0 || !d->mlp_bias,
                  "\"moe_latent_size\" with \"mlp_bias\" is not supported",
                  StatusCode::kUnsupported);
  const int groups = reader->IntOr("n_group", 1, 1, d->experts);
  Json experts = {
      {"experts", d->experts},
      {"top_k", reader->IntOr("num_experts_per_tok", 2, 1, d->experts)},
      {"hidden", reader->IntOr("moe_intermediate_size", 7688, 1, 1 << 24)},
      {"activation", activation},
      {"gated", false},
      {"router_score", "sigmoid"},
      {"select_bias", true},
      {"groups", groups},
      {"top_groups", reader->IntOr("topk_group", 1, 1, groups)},
      {"group_score", "top_two"},
      {"normalize", reader->BoolOr("norm_topk_prob", true)},
      {"normalize_eps", 1e-20},
      {"routed_scale", reader->NumberOr("routed_scaling_factor", 1.0)}};
  const int shared =
      reader->IntOr("moe_shared_expert_intermediate_size", 7688, 1, 1 << 24);
  if (d->latent > 0) experts["latent"] = d->latent;
  if (d->shared) experts["shared_hidden"] = shared;
  return experts;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "nemotron_h");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "nemotron_h";
  Dims d;
  ReadLayers(&reader, &d);
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  d.tied = config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const double eps = ReadEps(&reader, "layer_norm_epsilon", 1e-5);
  const std::string activation = reader.StringOr("mlp_hidden_act", "relu2");
  d.mlp_bias = reader.BoolOr("mlp_bias", false);
  d.attention_bias = reader.BoolOr("attention_bias", false);
  const Json experts = ReadExperts(&reader, &d, activation);
  const Json mlp = {
      {"hidden", reader.IntOr("intermediate_size", 21504, 1, 1 << 24)},
      {"activation", activation},
      {"bias", d.mlp_bias}};
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const Json attention = {
      {"heads", heads},
      {"kv_heads", reader.IntOr("num_key_value_heads", heads, 1, 65536)},
      {"head_dim", reader.IntOr("head_dim", 128, 1, 65536)},
      {"bias", d.attention_bias},
      {"rope", false}};
  Mamba2Part mamba;
  mamba.heads = reader.IntOr("mamba_num_heads", 128, 1, 1 << 14);
  mamba.head_dim = reader.IntOr("mamba_head_dim", 64, 1, 1 << 12);
  mamba.state = reader.IntOr("ssm_state_size", 128, 1, 1 << 12);
  mamba.groups = reader.IntOr("n_groups", 8, 1, 1 << 14);
  mamba.conv_bias = reader.BoolOr("use_conv_bias", true);
  mamba.bias =
      reader.BoolOr("mamba_proj_bias", reader.BoolOr("use_bias", false));
  mamba.Compose(reader.IntOr("conv_kernel", 4, 2, 64), eps);
  // The prompt's scan takes steps of at least that, whatever
  // "time_step_limit" says.
  mamba.config["dt_min"] = reader.NumberOr("time_step_min", 0.001);
  reader.Expect("mamba_hidden_act", "silu");
  reader.Expect("sliding_window", nullptr);
  reader.Expect("num_nextn_predict_layers", 0);
  IgnoreBookkeeping(&reader);
  // Initial values, how libraries compute, what heads of several tokens have.
  reader.Ignore({"time_step_floor", "time_step_max", "time_step_limit",
                 "rescale_prenorm_residual", "residual_in_fp32", "expand",
                 "hidden_dropout", "use_mamba_kernels", "num_logits_to_keep",
                 "mamba_ssm_cache_dtype", "chunk_size", "use_bias",
                 "moe_shared_expert_overlap", "mtp_layers_block_type",
                 "mtp_hybrid_override_pattern", "hybrid_override_pattern"});
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = RmsNormConfig(eps);
  config.final_norm = norm;
  for (const Kind kind : d.layers) {
    const std::pair<const char*, const Json&> mixers[] = {
        {"mamba2", mamba.config},
        {"attention", attention},
        {"mlp", mlp},
        {"moe", experts}};
    const auto& [name, fields] = mixers[static_cast<size_t>(kind)];
    BlockConfig block;
    block.sublayers = {
        {.mixer = name, .config = fields.dump(), .pre_norm = norm}};
    config.blocks.push_back(std::move(block));
  }
  model.tensors = MapTensors(d, mamba, false);
  // transformers 5 in memory, so in recorded gradients.
  model.other_layouts = {MapTensors(d, mamba, true)};
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family NemotronHFamily() {
  return {.name = "nemotron_h",
          .model_types = {"nemotron_h"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .base = "backbone.",
          .aliases = {{"layer_types", "layers_block_type"},
                      {"num_local_experts", "n_routed_experts"}},
          .defaults = {{"layer_norm_epsilon", "1e-05"},
                       {"num_key_value_heads", "8"}}};
}

}  // namespace intarsia
