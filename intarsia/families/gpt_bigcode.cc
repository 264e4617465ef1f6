// GPT-BigCode (StarCoder): GPT-2 whose heads share one key and value head.
#include <cmath>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool shared = d->json.BoolOr("multi_query", true);
  d->kv_heads.assign(d->layers, shared ? 1 : d->heads);
  d->config.learned_positions = true;
  d->Bias(true, true);
  d->TwoMatrices(true);
  if (!d->json.BoolOr("scale_attn_weights", true)) d->attention["scale"] = 1.0;
  d->json.Expect("add_cross_attention", false);
  d->names.hf_block = "transformer.h.";
  d->names.rows = {{"embedding", "transformer.wte.weight"},
                   {"positions", "transformer.wpe.weight"},
                   {"head", "lm_head.weight"}};
  d->names.AddPair("final_norm", "final_norm_bias", "transformer.ln_f");
  d->names.AddPair("0.pre_norm", "0.pre_norm_bias", "ln_1");
  d->names.AddPair("1.pre_norm", "1.pre_norm_bias", "ln_2");
  d->names.AddPair("0.o_proj", "0.o_bias", "attn.c_proj");
  d->names.AddPair("1.up", "1.up_bias", "mlp.c_fc");
  d->names.AddPair("1.down", "1.down_bias", "mlp.c_proj");
  d->FuseQkv("attn.c_attn", shared ? 1 : d->heads);
  // Dropout is training's choice; the rest is how that library computes.
  d->json.Ignore(
      {"attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_softmax_in_fp32",
       "num_key_value_heads", "scale_attention_softmax_in_fp32",
       "inference_runner", "max_batch_size", "max_sequence_length",
       "pad_key_length", "pre_allocate_kv_cache", "validate_runner_input",
       "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
       "summary_type", "summary_use_proj"});
}

constexpr FieldRow kFields[] = {{"layers", "n_layer"},
                                {"dim", "n_embd"},
                                {"heads", "n_head"},
                                {"max_positions", "n_positions"},
                                {"hidden", "n_inner"},
                                {"kv_heads", nullptr},
                                {"head_dim", nullptr},
                                {"eps", "layer_norm_epsilon"},
                                {"activation", "activation_function"}};
constexpr DecoderTraits kTraits = {
    .family = "gpt_bigcode",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .activation = "gelu_pytorch_tanh",
    .rope = false};

}  // namespace

Family GptBigcodeFamily() {
  return {.name = "gpt_bigcode",
          .model_types = {"gpt_bigcode"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .base = "transformer.",
          .aliases = {{"hidden_size", "n_embd"},
                      {"max_position_embeddings", "n_positions"},
                      {"num_attention_heads", "n_head"},
                      {"num_hidden_layers", "n_layer"}},
          .defaults = {{"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
