// OLMoE: experts, and a norm over all queries and one over all keys of a token.
// FlexOlmo has norms behind the mixers instead of before them.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->fields.BoolOr("attention_bias", false);
  d->Bias(bias, bias);
  d->QkNorm(d->norm, "all");
  const double clip = d->json.NumberOr("clip_qkv", 0);
  d->json.RequireField(clip >= 0, "clip_qkv", "positive");
  if (clip > 0) d->attention["clip"] = clip;
  const int experts = d->fields.Int("experts", 1, 65536);
  d->Experts(experts, d->fields.Int("top_k", 1, experts), d->hidden[0],
             {{"normalize", d->json.BoolOr("norm_topk_prob", false)}});
  if (d->config.name == "flex_olmo") d->NormsAfter(/*before_too=*/false);
}

constexpr FieldRow kFields[] = {{"experts", "num_experts"}};
constexpr DecoderTraits kTraits = {
    .family = "olmoe", .edit = Edit, .fields = kFields, .positions = 4096};
constexpr DecoderTraits kFlex = {.family = "flex_olmo",
                                 .edit = Edit,
                                 .fields = kFields,
                                 .theta = 500000.0,
                                 .positions = 4096};

Result<FamilyModel> FromConfig(const Json& config) {
  const bool flex = config.value("model_type", Json()) == "flex_olmo";
  return ReadDecoder(flex ? kFlex : kTraits, config);
}

}  // namespace

Family OlmoeFamily() {
  return {.name = "olmoe",
          .model_types = {"olmoe", "flex_olmo"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .aliases = {{"num_local_experts", "num_experts"}}};
}

}  // namespace intarsia
