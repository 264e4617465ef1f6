// Phi 1 to 2: attention and MLP side by side on one LayerNorm, rotary positions
// of a share of each head's channels, a bias on every matrix and on the head.
#include <nlohmann/json.hpp>

#include "intarsia/families/rope_fields.h"
#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

const TensorNames& Tensors() {
  static const auto* const names = [] {
    auto* n =
        new TensorNames{.rows = {{"embedding", "model.embed_tokens.weight"}}};
    n->AddPair("head", "head_bias", "lm_head");
    n->AddPair("final_norm", "final_norm_bias", "model.final_layernorm");
    n->AddPair("0.pre_norm", "0.pre_norm_bias", "input_layernorm");
    for (const std::string part : {"q", "k", "v"}) {
      n->AddPair("0." + part + "_proj", "0." + part + "_bias",
                 "self_attn." + part + "_proj");
    }
    n->AddPair("0.o_proj", "0.o_bias", "self_attn.dense");
    n->AddPair("1.up", "1.up_bias", "mlp.fc1");
    n->AddPair("1.down", "1.down_bias", "mlp.fc2");
    return n;
  }();
  return *names;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "phi");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "phi";
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size");
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.head_bias = true;
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const int head_dim = config.dim / heads;
  const double eps = ReadEps(&reader, "layer_norm_eps", 1e-5);
  const int hidden = reader.Int("intermediate_size");
  const std::string activation = reader.StringOr("hidden_act", "gelu_new");
  reader.Require(config.dim % heads == 0,
                 "\"hidden_size\" must be a multiple of "
                 "\"num_attention_heads\"");
  reader.Expect("qk_layernorm", false);
  const Json rope = RopeFromConfig(&reader,
                                   {.family = "phi",
                                    .head_dim = head_dim,
                                    .max_positions = config.max_positions,
                                    .partial = true},
                                   "", &model.warnings);
  IgnoreBookkeeping(&reader);
  reader.Ignore({"resid_pdrop", "embd_pdrop"});  // training's choice
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = {.kind = NormConfig::Kind::kLayer,
                           .eps = static_cast<float>(eps)};
  const Json attention = {{"heads", heads},
                          {"kv_heads", kv_heads},
                          {"head_dim", head_dim},
                          {"rope", rope},
                          {"bias", true}};
  const Json mlp = {
      {"hidden", hidden}, {"activation", activation}, {"bias", true}};
  config.final_norm = norm;
  config.blocks.assign(layers, ParallelBlock(norm, attention, mlp));
  model.tensors = MapRows(Tensors(), FileKind::kHuggingFace, config);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family PhiFamily() {
  return {.name = "phi",
          .model_types = {"phi"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .defaults = {{"layer_norm_eps", "1e-05"},
                       {"partial_rotary_factor", "0.5"},
                       {"intermediate_size", "8192"}}};
}

}  // namespace intarsia
