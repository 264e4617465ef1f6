// GLM 4 9B as transformers has it: neighbouring channels of half a head turn,
// gate and up are one matrix.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->Bias(d->fields.BoolOr("attention_bias", true), false);
  d->Fuse({"1.gate", "1.up"}, "mlp.gate_up_proj.weight");
}

constexpr DecoderTraits kTraits = {.family = "glm",
                                   .edit = Edit,
                                   .positions = 131072,
                                   .partial = true,
                                   .pairs = true};

}  // namespace

Family GlmFamily() {
  return {.name = "glm",
          .model_types = {"glm"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1.5625e-07"},
                       {"num_key_value_heads", "2"},
                       {"head_dim", "128"},
                       {"partial_rotary_factor", "0.5"}}};
}

}  // namespace intarsia
