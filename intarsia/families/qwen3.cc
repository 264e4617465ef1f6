// Qwen 3: RMS norms over the queries and keys of each head.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "qwen3",
    .qk_norm = true,
    .window = TransformerTraits::Window::kChosen,
    .declares_attention_bias = true};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return TransformerFromGguf(kTraits, "qwen3", metadata);
}

}  // namespace

Family Qwen3Family() {
  GgufForm form = TransformerGguf("Qwen3ForCausalLM");
  form.with_window = {{"use_sliding_window", "true"},
                      {"max_window_layers", "0"}};
  return {.name = "qwen3",
          .model_types = {"qwen3"},
          .gguf_architectures = {"qwen3"},
          .from_config = FromConfig,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "32"},
                       {"sliding_window?use_sliding_window", "4096"},
                       {"head_dim", "128"}},
          .gguf = form};
}

}  // namespace intarsia
