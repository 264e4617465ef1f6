// Gemma 2: norms before and after each mixer, scores and logits through a tanh,
// every other layer with a window.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "gemma2",
    .norms = TransformerTraits::Norms::kBoth,
    .gemma2 = true,
    .window = TransformerTraits::Window::kAlternate,
    .declares_attention_bias = true,
    .default_positions = 8192};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

}  // namespace

Family Gemma2Family() {
  return {.name = "gemma2",
          .model_types = {"gemma2"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .declared = {{"use_bidirectional_attention", "[false]"}},
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "4"},
                       {"head_dim", "256"},
                       {"sliding_window", "4096"},
                       {"attn_logit_softcapping", "50.0"},
                       {"final_logit_softcapping", "30.0"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
