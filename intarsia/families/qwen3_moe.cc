// Qwen 3 MoE: Qwen 3 with experts, of which a token takes some.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->fields.BoolOr("attention_bias", false);
  d->Bias(bias, bias);
  d->QkNorm(d->norm);
  const int experts = d->fields.Int("experts", 1, 65536);
  d->Experts(experts, d->fields.Int("top_k", 1, experts),
             d->json.Int("moe_intermediate_size"),
             {{"normalize", d->json.BoolOr("norm_topk_prob", false)}});
  d->ReadSparseLayers();
  if (d->json.BoolOr("use_sliding_window", false)) {
    d->ReadWindow();
  } else {
    d->json.Ignore({"sliding_window"});
  }
  d->json.Ignore({"max_window_layers", "layer_types"});
}

constexpr FieldRow kFields[] = {{"experts", "num_experts"}};
constexpr DecoderTraits kTraits = {
    .family = "qwen3_moe", .edit = Edit, .fields = kFields, .positions = 32768};

}  // namespace

Family Qwen3MoeFamily() {
  return {.name = "qwen3_moe",
          .model_types = {"qwen3_moe"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .aliases = {{"num_local_experts", "num_experts"}},
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "4"},
                       {"moe_intermediate_size", "768"}}};
}

}  // namespace intarsia
