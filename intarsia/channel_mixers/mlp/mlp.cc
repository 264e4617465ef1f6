#include "intarsia/channel_mixers/mlp/mlp.h"

namespace intarsia {

void MlpConfig::Visit(Fields& f) {
  f.Int("hidden", &hidden, {1, 1 << 24});
  f.ChoiceOr("activation", &activation, ActivationNames());
  f.BoolOr("bias", &bias);
}

Mlp::Mlp(const MlpConfig& config) : config_(config) {
  const int64_t d = config.dim, f = config.hidden;
  up_ = book_.Matrix("up", {f, d}, Rows());
  up_bias_ = book_.Bias(up_, config.bias);
  down_ = book_.Matrix("down", {d, f}, Columns());
  down_bias_ = book_.Bias(down_, config.bias);
}

Tensor Mlp::Forward(Context& ctx, const Tensor& x) const {
  const Tensor up = Linear(ctx, x, up_, up_bias_);
  return OutLinear(ctx, Activate(ctx, config_.activation, up), down_,
                   down_bias_);
}

Result<std::unique_ptr<Mixer>> CreateMlp(const Json& json, int dim) {
  return MakeMixer<Mlp, MlpConfig>(json, "mlp", dim);
}

void MlpFields(Fields& f, int dim) { VisitFresh<MlpConfig>(f, dim); }

std::vector<MixerExample> MlpExamples() {
  return {
      {.name = "gelu_tanh", .config = R"({"hidden": 96})", .dim = 32},
      {.name = "relu2",
       .config = R"({"hidden": 40, "activation": "relu2", "bias": false})",
       .dim = 24},
      {.name = "gelu",
       .config = R"({"hidden": 9, "activation": "gelu"})",
       .dim = 5},
  };
}

}  // namespace intarsia
