// Falcon 7B: attention with one key and value head beside an MLP, both on one
// LayerNorm; queries, keys and values in one matrix.
#include <nlohmann/json.hpp>

#include "intarsia/families/rope_fields.h"
#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

const TensorNames& Tensors() {
  static const auto* const names = [] {
    auto* n = new TensorNames{
        .hf_block = "transformer.h.",
        .rows = {{"embedding", "transformer.word_embeddings.weight"},
                 {"head", "lm_head.weight"}}};
    n->AddPair("final_norm", "final_norm_bias", "transformer.ln_f");
    n->AddPair("0.pre_norm", "0.pre_norm_bias", "input_layernorm");
    for (const std::string part : {"q", "k", "v"}) {
      n->AddPair("0." + part + "_proj", "0." + part + "_bias",
                 "self_attention.query_key_value");
    }
    n->AddPair("0.o_proj", "0.o_bias", "self_attention.dense");
    n->AddPair("1.up", "1.up_bias", "mlp.dense_h_to_4h");
    n->AddPair("1.down", "1.down_bias", "mlp.dense_4h_to_h");
    return n;
  }();
  return *names;
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
  config.blocks.assign(layers, ParallelBlock(norm, attention, mlp));
  model.tensors = MapRows(Tensors(), FileKind::kHuggingFace, config);
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
