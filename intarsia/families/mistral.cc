// Mistral: Llama with a sliding window in every layer; Ministral, in some.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "mistral",
    .window = TransformerTraits::Window::kTypes,
    .default_positions = 131072};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

}  // namespace

Family MistralFamily() {
  GgufForm form = TransformerGguf("MistralForCausalLM");
  form.sign = "attention.sliding_window";
  form.reads_biases = true;
  return {.name = "mistral",
          .model_types = {"mistral", "ministral"},
          .gguf_architectures = {"llama"},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "8"},
                       {"sliding_window", "4096"}},
          .gguf = form};
}

}  // namespace intarsia
