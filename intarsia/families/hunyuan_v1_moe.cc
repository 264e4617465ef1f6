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
  const int64_t width = int64_t{shared} * d->hidden[0];
  d->json.RequireField(width >= 1 && width <= 1 << 24, "num_shared_expert",
                       "so many that all are at most 2^24 wide");
  if (!d->json.status().ok()) return;
  d->SharedExpert(static_cast<int>(width), "mlp.shared_mlp.");
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
