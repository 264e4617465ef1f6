// Mistral: Llama with a sliding window in every layer.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "mistral",
    .window = TransformerTraits::Window::kAll,
    .default_window = 4096,
    .default_kv_heads = 8};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

}  // namespace

Family MistralFamily() {
  return {.name = "mistral",
          .model_types = {"mistral"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr};
}

}  // namespace intarsia
