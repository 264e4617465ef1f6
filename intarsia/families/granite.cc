// Granite 3: Llama with a multiplier of each of embedding, scores, residual and
// logits.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->config.embedding_scale = d->Scale("embedding_scale");
  d->config.logit_scale = 1.0f / d->Scale("logit_scale");
  d->first.residual_scale = d->Scale("residual_scale");
  d->second.residual_scale = d->first.residual_scale;
  // Without it a GGUF file means the usual one.
  const double scale = d->fields.NumberOr("scale", d->gguf() ? 0 : 1);
  if (scale != 0) d->attention["scale"] = scale;
}

constexpr FieldRow kFields[] = {
    {"embedding_scale", "embedding_multiplier", "embedding_scale"},
    {"residual_scale", "residual_multiplier", "residual_scale"},
    {"scale", "attention_multiplier", "attention.scale"},
    {"logit_scale", "logits_scaling", "logit_scale"}};
constexpr DecoderTraits kTraits = {
    .family = "granite", .edit = Edit, .fields = kFields};

Result<FamilyModel> FromGguf(const Json& metadata) {
  return ReadGgufDecoder(kTraits, "granite", /*paired=*/true, metadata);
}

}  // namespace

Family GraniteFamily() {
  GgufForm form = DecoderGguf(kTraits, "GraniteForCausalLM", R"(["silu"])");
  return {.name = "granite",
          .model_types = {"granite"},
          .gguf_architectures = {"granite"},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-06"}},
          .gguf = form};
}

}  // namespace intarsia
