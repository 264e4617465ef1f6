// Phi 3 and 4: Llama with fused projections, and longrope.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->FuseQkv("self_attn.qkv_proj");
  d->Fuse({"1.gate", "1.up"}, "mlp.gate_up_proj.weight");
  d->ReadWindow();
  d->json.Ignore({"resid_pdrop", "embd_pdrop"});  // training's choice
}

constexpr DecoderTraits kTraits = {
    .family = "phi3", .edit = Edit, .positions = 4096, .partial = true};

}  // namespace

Family Phi3Family() {
  return {.name = "phi3",
          .model_types = {"phi3"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .declared = {{"attention_bias", "[false]"}},
          .defaults = {{"rms_norm_eps", "1e-05"},
                       {"max_position_embeddings", "4096"},
                       {"original_max_position_embeddings", "4096"}}};
}

}  // namespace intarsia
