// Mixtral: Mistral with eight experts a block, two of them active.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "mixtral",
    .window = TransformerTraits::Window::kAll,
    .default_kv_heads = 8,
    .default_eps = 1e-5,
    .experts = true};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

}  // namespace

Family MixtralFamily() {
  return {.name = "mixtral",
          .model_types = {"mixtral"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr};
}

}  // namespace intarsia
