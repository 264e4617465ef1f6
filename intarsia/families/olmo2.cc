// OLMo 2: norms after the mixers, none before; an RMS norm over all queries and
// one over all keys of a token.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "olmo2",
    .qk_norm = true,
    .qk_norm_all = true,
    .norms = TransformerTraits::Norms::kAfter,
    .declares_attention_bias = true,
    .default_positions = 2048};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return TransformerFromGguf(kTraits, "olmo2", metadata);
}

}  // namespace

Family Olmo2Family() {
  return {.name = "olmo2",
          .model_types = {"olmo2"},
          .gguf_architectures = {"olmo2"},
          .from_config = FromConfig,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-05"}},
          .gguf = TransformerGguf("Olmo2ForCausalLM")};
}

}  // namespace intarsia
