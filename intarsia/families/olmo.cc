// OLMo: LayerNorms without weights, queries, keys and values clipped.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  const double clip = d->json.NumberOr("clip_qkv", 0);
  d->json.RequireField(clip >= 0, "clip_qkv", "positive");
  if (clip > 0) d->attention["clip"] = clip;
}

constexpr DecoderTraits kTraits = {
    .family = "olmo",
    .edit = Edit,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f, .affine = false},
    .eps = false};

}  // namespace

Family OlmoFamily() {
  return {.name = "olmo",
          .model_types = {"olmo"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr};
}

}  // namespace intarsia
