// StableLM: LayerNorms, rotary positions of a share of the channels; StableLM 2
// 12B runs attention and MLP side by side and norms each head.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->Bias(d->json.BoolOr("use_qkv_bias", false), false);
  if (d->json.BoolOr("use_parallel_residual", false)) d->Parallel();
  if (d->json.BoolOr("qk_layernorm", false)) {
    NormConfig norm = d->norm;
    norm.bias = false;
    d->QkNorm(norm, "each");
    d->names.rows.push_back(
        {"0.q_norm", "self_attn.q_layernorm.norms.%.weight"});
    d->names.rows.push_back(
        {"0.k_norm", "self_attn.k_layernorm.norms.%.weight"});
  }
  d->json.Ignore({"hidden_dropout"});  // training's choice
}

constexpr FieldRow kFields[] = {{"eps", "layer_norm_eps"}};
constexpr DecoderTraits kTraits = {
    .family = "stablelm",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .positions = 4096,
    .partial = true};

}  // namespace

Family StablelmFamily() {
  return {.name = "stablelm",
          .model_types = {"stablelm"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"num_key_value_heads", "32"},
                       {"partial_rotary_factor", "0.25"}}};
}

}  // namespace intarsia
