// Qwen 2 and 2.5: biases on queries, keys and values.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "qwen2",
    .qkv_bias = true,
    .window = TransformerTraits::Window::kChosen,
    .default_window = 4096,
    .default_kv_heads = 32};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return TransformerFromGguf(kTraits, "qwen2", metadata);
}

}  // namespace

Family Qwen2Family() {
  return {.name = "qwen2",
          .model_types = {"qwen2"},
          .gguf_architectures = {"qwen2"},
          .from_config = FromConfig,
          .from_gguf = FromGguf};
}

}  // namespace intarsia
