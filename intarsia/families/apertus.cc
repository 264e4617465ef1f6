// Apertus: norms of each head, an MLP of two matrices with xIELU.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->TwoMatrices(d->fields.BoolOr("mlp_bias", false));
  d->json.Expect("hidden_act", "xielu");
  d->mlp.erase("activation");
  d->mlp["xielu"] = true;
  d->QkNorm(d->norm);
  d->names.rows.insert(d->names.rows.end(),
                       {{"0.pre_norm", "attention_layernorm.weight"},
                        {"1.pre_norm", "feedforward_layernorm.weight"}});
  for (const std::string name : {"alpha_p", "alpha_n", "beta", "eps"}) {
    d->names.rows.push_back({"1." + name, "mlp.act_fn." + name});
  }
}

constexpr DecoderTraits kTraits = {.family = "apertus",
                                   .edit = Edit,
                                   .activation = "xielu",
                                   .theta = 12000000.0,
                                   .positions = 65536};

}  // namespace

Family ApertusFamily() {
  return {.name = "apertus",
          .model_types = {"apertus"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"}}};
}

}  // namespace intarsia
