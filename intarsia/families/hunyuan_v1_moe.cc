// HunYuan MoE: HunYuan with experts, and one more that sees every token.
#include <algorithm>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

// One number, or a list that has the same for each layer.
int Same(DecoderDraft* d, const char* name, int fallback) {
  const Json* value = d->json.Find(name);
  if (value == nullptr || !value->is_array()) {
    return d->json.IntOr(name, fallback, 1, 65536);
  }
  const Json first = value->empty() ? Json() : (*value)[0];
  const bool same =
      first.is_number_integer() && first > 0 && first <= 65536 &&
      std::ranges::all_of(*value, [&](const Json& x) { return x == first; });
  d->json.RequireField(same, name, "one number for all layers");
  return same ? first.get<int>() : 1;
}

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->QkNorm(d->norm);
  d->attention["qk_norm_after_rope"] = true;
  const int shared = Same(d, "num_shared_expert", 1);
  d->Experts(Same(d, "num_experts", 1), Same(d, "moe_topk", 1), d->hidden[0],
             Json::object());
  d->SharedExpert(shared * d->hidden[0], "mlp.shared_mlp.");
  d->ExpertRow("1.router", "mlp.gate.wg.weight");
  d->ExpertRow("0.q_norm", "self_attn.query_layernorm.weight");
  d->ExpertRow("0.k_norm", "self_attn.key_layernorm.weight");
  d->json.Ignore({"eod_token_id", "sep_token_id"});
}

constexpr DecoderTraits kTraits = {.family = "hunyuan_v1_moe", .edit = Edit};

}  // namespace

Family HunyuanV1MoeFamily() {
  return {.name = "hunyuan_v1_moe",
          .model_types = {"hunyuan_v1_moe"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"}}};
}

}  // namespace intarsia
