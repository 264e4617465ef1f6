// Cohere (Command R): attention and MLP side by side on one LayerNorm without
// bias, neighbouring channels turn together, logits are scaled.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->fields.BoolOr("attention_bias", false);
  d->Bias(bias, bias);
  d->Parallel();
  d->config.logit_scale = d->Scale("logit_scale");
  if (d->json.BoolOr("use_qk_norm", false)) d->QkNorm(d->norm, "each");
}

constexpr FieldRow kFields[] = {{"eps", "layer_norm_eps"},
                                {"logit_scale", "logit_scale"}};
constexpr DecoderTraits kTraits = {
    .family = "cohere",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f, .bias = false},
    .theta = 500000.0,
    .positions = 8192,
    .pairs = true};

}  // namespace

Family CohereFamily() {
  return {
      .name = "cohere",
      .model_types = {"cohere"},
      .gguf_architectures = {},
      .from_config = DecoderFromConfig<kTraits>,
      .from_gguf = nullptr,
      .defaults = {{"logit_scale", "0.0625"}, {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
