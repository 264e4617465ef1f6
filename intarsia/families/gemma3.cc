// Gemma 3: Gemma 2 with a norm of each head's queries and keys, five sliding
// layers to a full one, and a rotary base for each kind of layer.
#include <cmath>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->config.embedding_scale = std::sqrt(static_cast<float>(d->config.dim));
  d->ReadBiases();
  d->NormsAfter(/*before_too=*/true);
  d->typed = true;
  d->ReadLayerTypes(d->json.IntOr("sliding_window_pattern", 6, 1));
  d->json.Ignore(
      {"_sliding_window_pattern", "hidden_act", "cache_implementation"});
  const double width = d->json.NumberOr("query_pre_attn_scalar", 256);
  d->json.RequireField(width > 0, "query_pre_attn_scalar", "positive");
  d->attention["scale"] = 1.0 / std::sqrt(width);
  d->attention["softcap"] = d->json.NumberOr("attn_logit_softcapping", 0);
  d->config.logit_softcap =
      static_cast<float>(d->json.NumberOr("final_logit_softcapping", 0));
  d->QkNorm(d->norm);
}

constexpr FieldRow kFields[] = {{"activation", "hidden_activation"}};
constexpr DecoderTraits kTraits = {
    .family = "gemma3",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kRms, .eps = 1e-6f, .unit_offset = true},
    .activation = "gelu_pytorch_tanh",
    .positions = 131072};

Result<FamilyModel> FromConfig(const Json& config) {
  return ReadDecoder(kTraits,
                     RopesByType(config, {.full_theta = 1e6,
                                          .theta = "rope_local_base_freq"}));
}

}  // namespace

Family Gemma3Family() {
  return {.name = "gemma3",
          .model_types = {"gemma3_text"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .declared = {{"use_bidirectional_attention", "[false]"}},
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_attention_heads", "8"},
                       {"num_key_value_heads", "4"},
                       {"head_dim", "256"},
                       {"sliding_window", "4096"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
