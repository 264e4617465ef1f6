// Qwen 2 and 2.5: biases on queries, keys and values.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "qwen2",
    .qkv_bias = true,
    .window = TransformerTraits::Window::kChosen};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return TransformerFromGguf(kTraits, "qwen2", metadata);
}

}  // namespace

Family Qwen2Family() {
  GgufForm form = TransformerGguf("Qwen2ForCausalLM");
  form.with_window = {{"use_sliding_window", "true"},
                      {"max_window_layers", "0"}};
  return {.name = "qwen2",
          .model_types = {"qwen2"},
          .gguf_architectures = {"qwen2"},
          .from_config = FromConfig,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "32"},
                       {"sliding_window?use_sliding_window", "4096"}},
          .gguf = form};
}

}  // namespace intarsia
