// Mistral 7B: Llama with a sliding window in every layer.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {.family = "mistral",
                                       .sliding_window = true};

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
