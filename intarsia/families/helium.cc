// Helium: Llama in which neighbouring channels turn together.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->Bias(d->fields.BoolOr("attention_bias", false), false);
  d->mlp["bias"] = d->fields.BoolOr("mlp_bias", false);
}

constexpr DecoderTraits kTraits = {.family = "helium",
                                   .edit = Edit,
                                   .theta = 100000.0,
                                   .positions = 4096,
                                   .pairs = true};

}  // namespace

Family HeliumFamily() {
  return {.name = "helium",
          .model_types = {"helium"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-08"},
                       {"num_key_value_heads", "20"},
                       {"head_dim", "128"}}};
}

}  // namespace intarsia
