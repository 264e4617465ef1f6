// Qwen 3: RMS norms over the queries and keys of each head.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "qwen3",
    .qk_norm = true,
    .window = TransformerTraits::Window::kChosen,
    .default_window = 4096,
    .declares_attention_bias = true,
    .default_kv_heads = 32,
    .default_head_dim = 128};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return TransformerFromGguf(kTraits, "qwen3", metadata);
}

}  // namespace

Family Qwen3Family() {
  return {.name = "qwen3",
          .model_types = {"qwen3"},
          .gguf_architectures = {"qwen3"},
          .from_config = FromConfig,
          .from_gguf = FromGguf};
}

}  // namespace intarsia
