// GLM 4 0414: GLM with norms behind the mixers too.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->Bias(d->fields.BoolOr("attention_bias", true), false);
  d->Fuse({"1.gate", "1.up"}, "mlp.gate_up_proj.weight");
  d->NormsAfter(/*before_too=*/true);
  d->names.rows.insert(d->names.rows.end(),
                       {{"0.post_norm", "post_self_attn_layernorm.weight"},
                        {"1.pre_norm", "post_attention_layernorm.weight"},
                        {"1.post_norm", "post_mlp_layernorm.weight"}});
}

constexpr DecoderTraits kTraits = {.family = "glm4",
                                   .edit = Edit,
                                   .positions = 131072,
                                   .partial = true,
                                   .pairs = true};

}  // namespace

Family Glm4Family() {
  return {.name = "glm4",
          .model_types = {"glm4"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1.5625e-07"},
                       {"num_key_value_heads", "2"},
                       {"head_dim", "128"},
                       {"partial_rotary_factor", "0.5"}}};
}

}  // namespace intarsia
