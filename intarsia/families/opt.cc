// OPT: learned positions behind two rows that nobody reads, ReLU, biases.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->json.BoolOr("enable_bias", true);
  d->config.learned_positions = true;
  d->Bias(bias, bias);
  d->TwoMatrices(bias);
  // What OPT 350M does otherwise.
  d->json.Expect("do_layer_norm_before", true);
  d->json.Expect("_remove_final_layer_norm", false);
  d->json.Expect("word_embed_proj_dim", d->config.dim);
  d->json.Expect("layer_norm_elementwise_affine", true);
  d->names.hf_block = "model.decoder.layers.";
  d->names.rows = {{"embedding", "model.decoder.embed_tokens.weight"},
                   {.ours = "positions",
                    .hf = "model.decoder.embed_positions.weight",
                    .begin = 2},
                   {"head", "lm_head.weight"}};
  d->names.AddPair("final_norm", "final_norm_bias",
                   "model.decoder.final_layer_norm");
  d->names.AddPair("0.pre_norm", "0.pre_norm_bias", "self_attn_layer_norm");
  d->names.AddPair("1.pre_norm", "1.pre_norm_bias", "final_layer_norm");
  for (const std::string part : {"q", "k", "v"}) {
    d->names.AddPair("0." + part + "_proj", "0." + part + "_bias",
                     "self_attn." + part + "_proj");
  }
  d->names.AddPair("0.o_proj", "0.o_bias", "self_attn.out_proj");
  d->names.AddPair("1.up", "1.up_bias", "fc1");
  d->names.AddPair("1.down", "1.down_bias", "fc2");
  // Dropout is training's choice.
  d->json.Ignore({"dropout", "layerdrop", "init_std", "activation_dropout"});
}

constexpr FieldRow kFields[] = {{"hidden", "ffn_dim"},
                                {"kv_heads", nullptr},
                                {"head_dim", nullptr},
                                {"activation", "activation_function"}};
constexpr DecoderTraits kTraits = {
    .family = "opt",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .activation = "relu",
    .rope = false,
    .eps = false};

}  // namespace

Family OptFamily() {
  return {.name = "opt",
          .model_types = {"opt"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"tie_word_embeddings", "true"},
                       {"max_position_embeddings", "2048"},
                       {"ffn_dim", "3072"}}};
}

}  // namespace intarsia
