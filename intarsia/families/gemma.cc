// Gemma: stored scales of norms are (scale − 1), the table is multiplied by the
// root of its width.
#include <cmath>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->config.embedding_scale = std::sqrt(static_cast<float>(d->config.dim));
  d->ReadBiases();
  // The tanh form is meant by either name, and by older files' second field.
  if (d->mlp["activation"] == "gelu") d->mlp["activation"] = "gelu_tanh";
  d->json.Ignore({"hidden_activation"});
}

constexpr DecoderTraits kTraits = {
    .family = "gemma",
    .edit = Edit,
    .norm = {.kind = NormConfig::Kind::kRms, .eps = 1e-6f, .unit_offset = true},
    .activation = "gelu_pytorch_tanh",
    .positions = 8192};

}  // namespace

Family GemmaFamily() {
  return {.name = "gemma",
          .model_types = {"gemma"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .declared = {{"use_bidirectional_attention", "[false]"}},
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "16"},
                       {"head_dim", "256"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
