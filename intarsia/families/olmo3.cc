// OLMo 3: OLMo 2 with three sliding layers to a full one.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->NormsAfter(/*before_too=*/false);
  d->QkNorm(d->norm, "all");
  d->typed = true;
  d->ReadLayerTypes(4);
}

constexpr DecoderTraits kTraits = {.family = "olmo3", .edit = Edit};

Result<FamilyModel> FromConfig(const Json& config) {
  return ReadDecoder(kTraits, RopesByType(config, {}));
}

}  // namespace

Family Olmo3Family() {
  return {.name = "olmo3",
          .model_types = {"olmo3"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"}, {"sliding_window", "4096"}}};
}

}  // namespace intarsia
