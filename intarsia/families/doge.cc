// Doge: a learned factor of each channel of the residual, and a mask that a
// token's values give.
#include "intarsia/families/decoder.h"
#include "intarsia/wiring/stack/stack.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->QkNorm(d->norm);
  d->json.Expect("is_moe", false);
  d->attention["dynamic_mask"] = true;
  const int keep = d->json.IntOr("keep_window_size", 2048, 0);
  if (keep > 0) d->attention["keep"] = keep;
  d->json.Ignore({"hidden_dropout", "num_experts", "num_experts_per_tok",
                  "norm_topk_prob", "sliding_window"});
  TensorNames names = LlamaNames();
  for (TensorRow& row : names.rows) {
    if (row.ours[0] == '0' || row.ours[0] == '1') row.ours.insert(1, ".0.0");
  }
  d->names.rows = names.rows;
  d->names.rows.insert(d->names.rows.end(),
                       {{"0.1.weight", "input_residual"},
                        {"1.1.weight", "post_attention_residual"},
                        {"0.0.0.mask_decay", "self_attn.A"},
                        {"0.0.0.mask_proj", "self_attn.dt_proj.weight"}});
}

// x ← w ⊙ x + mixer(norm(x)).
void Finish(DecoderDraft* d) {
  for (BlockConfig& block : d->config.blocks) {
    for (SublayerConfig& sublayer : block.sublayers) {
      sublayer.replace = true;
      const Json inner = ToJson(StackConfig{{sublayer}});
      const Json branches = {{{"mixer", "stack"}, {"config", inner}},
                             {{"mixer", "diagonal"}}};
      sublayer = {.mixer = "parallel",
                  .config = Json{{"branches", branches}}.dump(),
                  .pre_norm = {.kind = NormConfig::Kind::kNone},
                  .replace = true};
    }
  }
}

constexpr DecoderTraits kTraits = {
    .family = "doge", .edit = Edit, .finish = Finish};

}  // namespace

Family DogeFamily() {
  return {.name = "doge",
          .model_types = {"doge"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-06"}}};
}

}  // namespace intarsia
