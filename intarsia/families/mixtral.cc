// Mixtral: Mistral with eight experts a block, two of them active.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "mixtral", .sliding_window = true, .experts = true};

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
