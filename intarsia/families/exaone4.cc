// EXAONE 4: norms behind the mixers and of each head; where some layers slide,
// the others know no positions.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->NormsAfter(/*before_too=*/false);
  d->QkNorm(d->norm);
  if (d->json.Find("layer_types") != nullptr) {
    d->json.Ignore({"sliding_window_pattern"});  // which may be "LLLG"
  }
  if (d->json.Find("sliding_window") == nullptr) {
    d->json.Ignore({"layer_types", "sliding_window_pattern"});
    return;
  }
  const bool listed = d->json.Find("layer_types") != nullptr;
  d->ReadLayerTypes(listed ? 0 : d->json.IntOr("sliding_window_pattern", 4, 1));
  for (int i = 0; i < d->layers; ++i) d->turns[i] = d->windows[i] > 0;
}

constexpr DecoderTraits kTraits = {.family = "exaone4", .edit = Edit};

}  // namespace

Family Exaone4Family() {
  return {.name = "exaone4",
          .model_types = {"exaone4"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"},
                       {"num_key_value_heads", "32"},
                       {"sliding_window", "4096"}}};
}

}  // namespace intarsia
