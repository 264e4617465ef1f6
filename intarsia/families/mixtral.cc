// Mixtral: Mistral with eight experts a block, two of them active.
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr TransformerTraits kTraits = {
    .family = "mixtral",
    .window = TransformerTraits::Window::kAll,
    .default_theta = 1000000.0,
    .default_positions = 131072,
    .experts = true};

Result<FamilyModel> FromConfig(const Json& config) {
  return TransformerFromConfig(kTraits, config);
}

}  // namespace

Family MixtralFamily() {
  GgufForm form = TransformerGguf("MixtralForCausalLM");
  form.sign = "expert_count";
  form.reads_biases = true;
  return {.name = "mixtral",
          .model_types = {"mixtral"},
          .gguf_architectures = {"llama"},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .aliases = {{"num_experts", "num_local_experts"}},
          .defaults = {{"rms_norm_eps", "1e-05"}, {"num_key_value_heads", "8"}},
          .gguf = form};
}

}  // namespace intarsia
