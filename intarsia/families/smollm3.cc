// SmolLM 3: Llama of which every fourth layer knows no positions.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  const int interval = d->json.IntOr("no_rope_layer_interval", 4, 1);
  const Json* list = d->json.Find("no_rope_layers");
  d->json.RequireField(
      list == nullptr ||
          (list->is_array() && static_cast<int>(list->size()) == d->layers),
      "no_rope_layers", "a number, 1 or 0, for each of the layers");
  if (!d->json.status().ok()) return;
  for (int i = 0; i < d->layers; ++i) {
    // 1 where positions count.
    d->turns[i] = list != nullptr ? (*list)[i] == 1 : (i + 1) % interval != 0;
  }
  if (d->json.BoolOr("use_sliding_window", false)) {
    d->ReadLayerTypes(interval);
    // Without a list the layers slide that know no positions.
    const int window = d->fields.IntOr("window", 0, 1);
    for (int i = 0; d->json.Find("layer_types") == nullptr && i < d->layers;
         ++i) {
      d->windows[i] = d->turns[i] ? 0 : window;
    }
  } else {
    d->json.Ignore({"sliding_window", "layer_types", "max_window_layers"});
  }
}

constexpr DecoderTraits kTraits = {
    .family = "smollm3", .edit = Edit, .theta = 2000000.0, .positions = 32768};

Result<FamilyModel> FromGguf(const Json& metadata) {
  return ReadGgufDecoder(kTraits, "smollm3", /*paired=*/true, metadata);
}

}  // namespace

Family Smollm3Family() {
  return {.name = "smollm3",
          .model_types = {"smollm3"},
          .gguf_architectures = {"smollm3"},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "4"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
