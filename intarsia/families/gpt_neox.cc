// GPT-NeoX and Pythia: attention and MLP side by side, each on a LayerNorm of
// its own; queries, keys and values of each head side by side in one matrix.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->json.BoolOr("attention_bias", true);
  d->Bias(bias, bias);
  d->TwoMatrices(true);
  if (d->json.BoolOr("use_parallel_residual", true)) {
    d->second.input = SublayerInput::kBlock;
  }
  d->names.hf_block = "gpt_neox.layers.";
  d->names.rows = {{"embedding", "gpt_neox.embed_in.weight"},
                   {"head", "embed_out.weight"}};
  d->names.AddPair("final_norm", "final_norm_bias",
                   "gpt_neox.final_layer_norm");
  d->names.AddPair("0.pre_norm", "0.pre_norm_bias", "input_layernorm");
  d->names.AddPair("1.pre_norm", "1.pre_norm_bias", "post_attention_layernorm");
  d->names.AddPair("0.o_proj", "0.o_bias", "attention.dense");
  d->names.AddPair("1.up", "1.up_bias", "mlp.dense_h_to_4h");
  d->names.AddPair("1.down", "1.down_bias", "mlp.dense_4h_to_h");
  d->FuseQkv("attention.query_key_value", d->heads);
  // Dropout is training's choice; scores are never capped.
  d->json.Ignore({"hidden_dropout", "classifier_dropout", "is_decoder"});
}

constexpr FieldRow kFields[] = {{"eps", "layer_norm_eps"}};
constexpr DecoderTraits kTraits = {
    .family = "gpt_neox",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .activation = "gelu",
    .partial = true};

}  // namespace

Family GptNeoxFamily() {
  return {.name = "gpt_neox",
          .model_types = {"gpt_neox"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .base = "gpt_neox.",
          .head = "embed_out.weight",
          .aliases = {{"rotary_pct", "partial_rotary_factor"},
                      {"rotary_emb_base", "rope_theta"}},
          .defaults = {{"partial_rotary_factor", "0.25"}}};
}

}  // namespace intarsia
