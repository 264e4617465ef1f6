// Nemotron: LayerNorms whose stored scales are (scale − 1), an MLP of two
// matrices with squared ReLU.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->TwoMatrices(d->fields.BoolOr("mlp_bias", false));
}

constexpr FieldRow kFields[] = {{"eps", "norm_eps"}};
constexpr DecoderTraits kTraits = {.family = "nemotron",
                                   .edit = Edit,
                                   .fields = kFields,
                                   .norm = {.kind = NormConfig::Kind::kLayer,
                                            .eps = 1e-5f,
                                            .unit_offset = true},
                                   .activation = "relu2",
                                   .positions = 4096,
                                   .partial = true};

}  // namespace

Family NemotronFamily() {
  return {.name = "nemotron",
          .model_types = {"nemotron"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"partial_rotary_factor", "0.5"}}};
}

}  // namespace intarsia
