// Llama 1 to 3 and what shares its shape: SmolLM2, TinyLlama, and in GGUF
// Mistral and Mixtral.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {.family = "llama",
                                       .declares_attention_bias = true,
                                       .declares_mlp_bias = true,
                                       .default_positions = 2048,
                                       .interleaved_gguf = true,
                                       .gguf_experts = true};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return TransformerFromGguf(kTraits, "llama", metadata);
}

}  // namespace

Family LlamaFamily() {
  GgufForm form = TransformerGguf("LlamaForCausalLM");
  form.reads_biases = true;
  return {.name = "llama",
          .model_types = {"llama"},
          .gguf_architectures = {"llama"},
          .from_config = FromConfig,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-06"}},
          .gguf = form,
          .says_biases = true};
}

}  // namespace intarsia
