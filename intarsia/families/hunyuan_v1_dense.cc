// HunYuan dense: Llama with a norm of each head behind the rotation.
#include <cmath>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->QkNorm(d->norm);
  d->attention["qk_norm_after_rope"] = true;
  d->names.rows.push_back(
      {"0.q_norm", "self_attn.query_layernorm.weight", "attn_q_norm.weight"});
  d->names.rows.push_back(
      {"0.k_norm", "self_attn.key_layernorm.weight", "attn_k_norm.weight"});
  d->json.Expect("use_qk_norm", true);
  d->json.Expect("use_cla", false);
  d->json.Ignore({"eod_token_id", "cla_share_factor"});
}

constexpr DecoderTraits kTraits = {.family = "hunyuan_v1_dense", .edit = Edit};

// "alpha" is another base, whatever the rest of the scaling says.
Result<FamilyModel> FromConfig(const Json& given) {
  Json config = given;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.contains(key) || !config[key].is_object()) continue;
    const Json alpha = config[key].value("alpha", Json());
    const Json heads = config.value("num_attention_heads", Json(1));
    const Json head = config.value("head_dim", Json());
    const Json dim = config.value("hidden_size", Json(1));
    if (!alpha.is_number() || !heads.is_number() || !dim.is_number()) continue;
    const double k = head.is_number() ? head.get<double>()
                                      : dim.get<double>() / heads.get<double>();
    const Json base = config[key].value(
        "rope_theta", config.value("rope_theta", Json(10000.0)));
    if (!base.is_number() || k <= 2) continue;
    config[key] = {
        {"rope_type", "default"},
        {"rope_theta",
         base.get<double>() * std::pow(alpha.get<double>(), k / (k - 2))}};
  }
  return ReadDecoder(kTraits, config);
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  return ReadGgufDecoder(kTraits, "hunyuan-dense", /*paired=*/false, metadata);
}

}  // namespace

Family HunyuanV1DenseFamily() {
  GgufForm form =
      DecoderGguf(kTraits, "HunYuanDenseV1ForCausalLM", R"(["silu"])");
  return {.name = "hunyuan_v1_dense",
          .model_types = {"hunyuan_v1_dense"},
          .gguf_architectures = {"hunyuan-dense"},
          .from_config = FromConfig,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-05"}},
          .gguf = form};
}

}  // namespace intarsia
