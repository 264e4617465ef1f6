// Falcon-H1: attention and Mamba-2 side by side in every block, with the
// multipliers of maximal update parametrisation.
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

// `count` numbers; ones where the field is absent.
std::vector<double> Multipliers(JsonReader* reader, const char* name,
                                size_t count) {
  const Json* list = reader->Find(name);
  if (list == nullptr) return std::vector<double>(count, 1.0);
  bool numbers = list->is_array() && list->size() == count;
  for (size_t i = 0; numbers && i < count; ++i) {
    numbers = (*list)[i].is_number();
  }
  reader->RequireField(numbers, name, std::to_string(count) + " numbers");
  return numbers ? list->get<std::vector<double>>()
                 : std::vector<double>(count, 1.0);
}

std::vector<TensorMap> MapTensors(int layers, bool tied,
                                  const Mamba2Part& mamba) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = "model.embed_tokens.weight"},
      {.native = "final_norm", .foreign = "model.final_layernorm.weight"}};
  if (!tied) maps.push_back({.native = "head", .foreign = "lm_head.weight"});
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"0.pre_norm", "input_layernorm"},    {"0.0.q_proj", "self_attn.q_proj"},
      {"0.0.k_proj", "self_attn.k_proj"},   {"0.0.v_proj", "self_attn.v_proj"},
      {"0.0.o_proj", "self_attn.o_proj"},   {"1.pre_norm", "pre_ff_layernorm"},
      {"1.gate", "feed_forward.gate_proj"}, {"1.up", "feed_forward.up_proj"},
      {"1.down", "feed_forward.down_proj"}};
  for (int i = 0; i < layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "model.layers." + std::to_string(i) + ".";
    for (const auto& [native, foreign] : kNames) {
      maps.push_back(
          {.native = ours + native, .foreign = theirs + foreign + ".weight"});
    }
    MapMamba2(mamba, ours + "0.1.", theirs + "mamba.", &maps);
  }
  return maps;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "falcon_h1");
  const auto number = [&](const char* name) {
    return reader.NumberOr(name, 1.0);
  };
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "falcon_h1";
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size");
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  config.embedding_scale = static_cast<float>(number("embedding_multiplier"));
  config.logit_scale = static_cast<float>(number("lm_head_multiplier"));
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const int head_dim = reader.IntOr("head_dim", config.dim / heads, 1, 65536);
  const double eps = ReadEps(&reader, "rms_norm_eps", 1e-5);
  const int hidden = reader.Int("intermediate_size");
  const std::string activation = reader.StringOr("hidden_act", "silu");
  for (const char* name : {"attention_bias", "mlp_bias", "projectors_bias"}) {
    reader.Expect(name, false);
  }
  const int expand = reader.IntOr("mamba_expand", 2, 1, 64);
  const int64_t inner =
      reader.IntOr("mamba_d_ssm", expand * config.dim, 1, 1 << 24);
  Mamba2Part mamba = ReadMamba2Part(&reader, inner, eps);
  mamba.norm = reader.BoolOr("mamba_rms_norm", false);
  if (!mamba.norm) mamba.config["norm"] = false;
  mamba.config["norm_before_gate"] =
      reader.BoolOr("mamba_norm_before_gate", true);
  mamba.config["in_multipliers"] = Multipliers(&reader, "ssm_multipliers", 5);
  const std::vector<double> mlp = Multipliers(&reader, "mlp_multipliers", 2);
  Json attention = {
      {"heads", heads},
      {"kv_heads", kv_heads},
      {"head_dim", head_dim},
      {"rope", RopeFromConfig(&reader,
                              {.family = "falcon_h1",
                               .head_dim = head_dim,
                               .max_positions = config.max_positions},
                              "", &model.warnings)}};
  // Keys are multiplied, which their scores are in their stead.
  const double keys = number("key_multiplier");
  reader.RequireField(keys > 0, "key_multiplier", "positive");
  if (keys != 1.0) attention["scale"] = keys / std::sqrt(head_dim);
  const Json branches = {{{"mixer", "attention"},
                          {"config", attention},
                          {"input_scale", number("attention_in_multiplier")},
                          {"output_scale", number("attention_out_multiplier")}},
                         {{"mixer", "mamba2"},
                          {"config", mamba.config},
                          {"input_scale", number("ssm_in_multiplier")},
                          {"output_scale", number("ssm_out_multiplier")}}};
  IgnoreBookkeeping(&reader);
  reader.Ignore({"num_logits_to_keep", "mamba_use_mlp"});
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = RmsNormConfig(eps);
  config.final_norm = norm;
  BlockConfig block;
  block.sublayers = {{.mixer = "parallel",
                      .config = Json{{"branches", branches}}.dump(),
                      .pre_norm = norm},
                     {.mixer = "glu",
                      .config = Json{{"hidden", hidden},
                                     {"activation", activation},
                                     {"gate_multiplier", mlp[0]}}
                                    .dump(),
                      .pre_norm = norm,
                      .residual_scale = static_cast<float>(mlp[1])}};
  config.blocks.assign(layers, block);
  model.tensors = MapTensors(layers, config.tied_head, mamba);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family FalconH1Family() {
  return {.name = "falcon_h1",
          .model_types = {"falcon_h1"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"},
                       {"num_key_value_heads", "8"},
                       {"mamba_d_ssm", "1024"}}};
}

}  // namespace intarsia
