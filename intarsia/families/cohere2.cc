// Cohere 2 (Command R7B, A): Cohere with three sliding layers to a full one,
// which knows no positions.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->fields.BoolOr("attention_bias", false);
  d->Bias(bias, bias);
  d->Parallel();
  d->config.logit_scale = d->Scale("logit_scale");
  d->ReadLayerTypes(d->json.IntOr("sliding_window_pattern", 4, 1));
  for (int i = 0; i < d->layers; ++i) d->turns[i] = d->windows[i] > 0;
  d->json.Expect("use_gated_activation", true);
  d->json.Expect("use_parallel_block", true);
  d->json.Expect("use_qk_norm", false);
  d->json.Ignore({"order_of_interleaved_layers", "rotary_pct",
                  "position_embedding_type", "use_embedding_sharing",
                  "use_parallel_embedding", "layer_switch",
                  "cache_implementation"});
}

constexpr FieldRow kFields[] = {{"eps", "layer_norm_eps"},
                                {"logit_scale", "logit_scale"}};
constexpr DecoderTraits kTraits = {
    .family = "cohere2",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f, .bias = false},
    .positions = 8192,
    .pairs = true};

}  // namespace

Family Cohere2Family() {
  return {.name = "cohere2",
          .model_types = {"cohere2"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"logit_scale", "0.0625"},
                       {"sliding_window", "4096"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
