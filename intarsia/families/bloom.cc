// BLOOM: ALiBi, a LayerNorm of the embedding, queries, keys and values of each
// head side by side in one matrix.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->Bias(true, true);
  d->TwoMatrices(true);
  d->attention["alibi"] = 1.0;
  d->config.embedding_norm = d->norm;
  d->json.Expect("apply_residual_connection_post_layernorm", false);
  d->names = {.hf_block = "transformer.h.",
              .rows = {{"embedding", "transformer.word_embeddings.weight"},
                       {"head", "lm_head.weight"}}};
  d->names.AddPair("embedding_norm", "embedding_norm_bias",
                   "transformer.word_embeddings_layernorm");
  d->names.AddPair("final_norm", "final_norm_bias", "transformer.ln_f");
  d->names.AddPair("0.pre_norm", "0.pre_norm_bias", "input_layernorm");
  d->names.AddPair("1.pre_norm", "1.pre_norm_bias", "post_attention_layernorm");
  d->FuseQkv("self_attention.query_key_value", d->heads);
  d->names.AddPair("0.o_proj", "0.o_bias", "self_attention.dense");
  d->names.AddPair("1.up", "1.up_bias", "mlp.dense_h_to_4h");
  d->names.AddPair("1.down", "1.down_bias", "mlp.dense_4h_to_h");
  // Dropout is training's choice; the rest is how that library computes.
  d->json.Ignore({"hidden_dropout", "slow_but_exact", "skip_bias_add",
                  "skip_bias_add_qkv", "attention_softmax_in_fp32",
                  "bias_dropout_fusion", "masked_softmax_fusion",
                  "offset_alibi", "unk_token_id", "seq_length"});
}

constexpr FieldRow kFields[] = {
    {"layers", "n_layer"},  {"heads", "n_head"},
    {"kv_heads", nullptr},  {"hidden", nullptr},
    {"head_dim", nullptr},  {"eps", "layer_norm_epsilon"},
    {"activation", nullptr}};
constexpr DecoderTraits kTraits = {
    .family = "bloom",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .activation = "gelu_tanh",
    .rope = false};

}  // namespace

Family BloomFamily() {
  return {.name = "bloom",
          .model_types = {"bloom"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .base = "transformer.",
          .aliases = {{"n_embed", "hidden_size"},
                      {"num_attention_heads", "n_head"},
                      {"num_hidden_layers", "n_layer"}},
          .defaults = {{"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
