// Seed-OSS: Llama with biases of queries, keys and values.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->Bias(d->fields.BoolOr("attention_bias", true),
          d->json.BoolOr("attention_out_bias", false));
  d->mlp["bias"] = d->fields.BoolOr("mlp_bias", false);
  d->names.rows.push_back({"1.pre_norm", "post_attention_layernorm.weight",
                           "post_attention_norm.weight"});
  d->json.Ignore({"residual_dropout"});  // training's choice
}

constexpr DecoderTraits kTraits = {
    .family = "seed_oss", .edit = Edit, .positions = 524288};

Result<FamilyModel> FromGguf(const Json& metadata) {
  return ReadGgufDecoder(kTraits, "seed_oss", /*paired=*/false, metadata);
}

}  // namespace

Family SeedOssFamily() {
  GgufForm form = DecoderGguf(kTraits, "SeedOssForCausalLM", R"(["silu"])");
  return {.name = "seed_oss",
          .model_types = {"seed_oss"},
          .gguf_architectures = {"seed_oss"},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-06"},
                       {"num_key_value_heads", "8"},
                       {"head_dim", "128"}},
          .gguf = form};
}

}  // namespace intarsia
