// BitNet b1.58: norms before the last matrix of attention and of the MLP, and
// squared ReLU. Weights are read as they are stored.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->attention["out_norm"] = NormJson(d->norm);
  d->mlp["norm"] = NormJson(d->norm);
  d->names.rows.push_back({"0.out_norm", "self_attn.attn_sub_norm.weight"});
  d->names.rows.push_back({"1.norm", "mlp.ffn_sub_norm.weight"});
}

constexpr DecoderTraits kTraits = {
    .family = "bitnet", .edit = Edit, .activation = "relu2", .theta = 500000.0};

}  // namespace

Family BitnetFamily() {
  return {
      .name = "bitnet",
      .model_types = {"bitnet"},
      .gguf_architectures = {},
      .from_config = DecoderFromConfig<kTraits>,
      .from_gguf = nullptr,
      .defaults = {{"rms_norm_eps", "1e-05"}, {"num_key_value_heads", "5"}}};
}

}  // namespace intarsia
