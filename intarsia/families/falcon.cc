// Falcon: the RefinedWeb models (ALiBi), 7B (one key and value head) and 40B
// (two norms); attention and MLP side by side in the latter two, queries, keys
// and values of a group of heads side by side in one matrix.
#include <cmath>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool newer = d->json.BoolOr("new_decoder_architecture", false);
  const bool one = d->json.BoolOr("multi_query", true);
  int kv_heads = one ? 1 : d->heads;
  if (newer) {
    kv_heads = d->json.IntOr("num_kv_heads", d->heads, 1, 65536);
  } else {
    d->json.Ignore({"num_kv_heads"});
  }
  d->kv_heads.assign(d->layers, kv_heads);
  const bool bias = d->json.BoolOr("bias", false);
  d->Bias(bias, bias);
  d->TwoMatrices(bias);
  const bool parallel = d->json.BoolOr("parallel_attn", true) || newer;
  const bool two =
      newer && d->json.IntOr("num_ln_in_parallel_attn", 2, 1, 2) == 2;
  d->json.Ignore({"num_ln_in_parallel_attn"});  // of the newer ones
  if (parallel && !two) d->Parallel();
  if (two) d->second.input = SublayerInput::kBlock;
  if (d->json.BoolOr("alibi", false)) {
    d->turns.assign(d->layers, false);
    d->attention["alibi"] = 1.0 / std::sqrt(d->head_dim);
  }
  // Dropout is training's choice.
  d->json.Expect("apply_residual_connection_post_layernorm", false);
  d->json.Ignore({"hidden_dropout"});
  d->names = {.hf_block = "transformer.h.",
              .rows = {{"embedding", "transformer.word_embeddings.weight"},
                       {"head", "lm_head.weight"}}};
  d->names.AddPair("final_norm", "final_norm_bias", "transformer.ln_f");
  d->names.AddPair("0.pre_norm", "0.pre_norm_bias",
                   two ? "ln_attn" : "input_layernorm");
  d->names.AddPair("1.pre_norm", "1.pre_norm_bias",
                   two ? "ln_mlp" : "post_attention_layernorm");
  d->FuseQkv("self_attention.query_key_value", newer || !one ? kv_heads : 1);
  d->names.AddPair("0.o_proj", "0.o_bias", "self_attention.dense");
  d->names.AddPair("1.up", "1.up_bias", "mlp.dense_h_to_4h");
  d->names.AddPair("1.down", "1.down_bias", "mlp.dense_4h_to_h");
}

constexpr FieldRow kFields[] = {{"eps", "layer_norm_epsilon"},
                                {"hidden", "ffn_hidden_size"},
                                {"kv_heads", nullptr},
                                {"head_dim", nullptr},
                                {"activation", "activation"}};
constexpr DecoderTraits kTraits = {
    .family = "falcon",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .activation = "gelu"};

}  // namespace

Family FalconFamily() {
  return {.name = "falcon",
          .model_types = {"falcon"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .base = "transformer.",
          .aliases = {{"n_embed", "hidden_size"}},
          .defaults = {{"layer_norm_epsilon", "1e-05"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
