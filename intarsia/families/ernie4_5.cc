// ERNIE 4.5: Llama in which neighbouring channels turn together.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->json.BoolOr("use_bias", false);
  d->Bias(bias, bias);
  d->mlp["bias"] = bias;
}

constexpr DecoderTraits kTraits = {.family = "ernie4_5",
                                   .edit = Edit,
                                   .theta = 500000.0,
                                   .positions = 131072,
                                   .pairs = true};

}  // namespace

Family Ernie45Family() {
  return {.name = "ernie4_5",
          .model_types = {"ernie4_5"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"},
                       {"num_key_value_heads", "2"},
                       {"head_dim", "128"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
