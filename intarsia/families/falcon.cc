// Falcon 7B: attention with one key and value head beside an MLP, both on one
// LayerNorm; queries, keys and values in one matrix.
#include <nlohmann/json.hpp>

#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

std::vector<TensorMap> MapTensors(int layers, int64_t dim, int64_t head_dim,
                                  bool tied, bool bias) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = "transformer.word_embeddings.weight"},
      {.native = "final_norm", .foreign = "transformer.ln_f.weight"},
      {.native = "final_norm_bias", .foreign = "transformer.ln_f.bias"}};
  if (!tied) maps.push_back({.native = "head", .foreign = "lm_head.weight"});
  for (int i = 0; i < layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "transformer.h." + std::to_string(i) + ".";
    const auto map = [&](const std::string& native, const std::string& foreign,
                         int64_t begin = 0, int64_t end = -1) {
      maps.push_back({.native = ours + native,
                      .foreign = theirs + foreign,
                      .row_begin = begin,
                      .row_end = end});
    };
    const auto matrix =
        [&](const std::string& native, const std::string& native_bias,
            const std::string& foreign, int64_t begin = 0, int64_t end = -1) {
          map(native, foreign + ".weight", begin, end);
          if (bias) map(native_bias, foreign + ".bias", begin, end);
        };
    map("0.pre_norm", "input_layernorm.weight");
    map("0.pre_norm_bias", "input_layernorm.bias");
    const char* const qkv = "self_attention.query_key_value";
    matrix("0.q_proj", "0.q_bias", qkv, 0, dim);
    matrix("0.k_proj", "0.k_bias", qkv, dim, dim + head_dim);
    matrix("0.v_proj", "0.v_bias", qkv, dim + head_dim, dim + 2 * head_dim);
    matrix("0.o_proj", "0.o_bias", "self_attention.dense");
    matrix("1.up", "1.up_bias", "mlp.dense_h_to_4h");
    matrix("1.down", "1.down_bias", "mlp.dense_4h_to_h");
  }
  return maps;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "falcon");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "falcon";
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size");
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings", true);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int head_dim = config.dim / heads;
  const double eps = ReadEps(&reader, "layer_norm_epsilon", 1e-5);
  const int hidden =
      reader.IntOr("ffn_hidden_size", 4 * config.dim, 1, 1 << 24);
  const std::string activation = reader.StringOr("activation", "gelu");
  const bool bias = reader.BoolOr("bias", false);
  reader.Require(config.dim % heads == 0,
                 "\"hidden_size\" must be a multiple of "
                 "\"num_attention_heads\"");
  // What Falcon 7B is among Falcons; 40B and the RefinedWeb models differ.
  reader.Expect("new_decoder_architecture", false);
  reader.Expect("multi_query", true);
  reader.Expect("parallel_attn", true);
  reader.Expect("alibi", false);
  const Json rope = RopeFromConfig(&reader,
                                   {.family = "falcon",
                                    .head_dim = head_dim,
                                    .max_positions = config.max_positions},
                                   "", &model.warnings);
  IgnoreBookkeeping(&reader);
  // Dropout is training's choice; the others count in other Falcons only.
  reader.Ignore({"hidden_dropout", "num_kv_heads", "num_ln_in_parallel_attn",
                 "apply_residual_connection_post_layernorm"});
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = {.kind = NormConfig::Kind::kLayer,
                           .eps = static_cast<float>(eps)};
  const Json attention = {{"heads", heads},
                          {"kv_heads", 1},
                          {"head_dim", head_dim},
                          {"rope", rope},
                          {"bias", bias}};
  const Json mlp = {
      {"hidden", hidden}, {"activation", activation}, {"bias", bias}};
  config.final_norm = norm;
  BlockConfig block;
  block.sublayers = {
      {.mixer = "attention", .config = attention.dump(), .pre_norm = norm},
      {.mixer = "mlp",
       .config = mlp.dump(),
       .pre_norm = {.kind = NormConfig::Kind::kNone},
       .input = SublayerInput::kPrevious}};
  config.blocks.assign(layers, block);
  model.tensors =
      MapTensors(layers, config.dim, head_dim, config.tied_head, bias);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family FalconFamily() {
  return {.name = "falcon",
          .model_types = {"falcon"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .base = "transformer.",
          .aliases = {{"n_embed", "hidden_size"}},
          .defaults = {{"layer_norm_epsilon", "1e-05"}}};
}

}  // namespace intarsia
