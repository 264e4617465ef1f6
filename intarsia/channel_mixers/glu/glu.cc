#include "intarsia/channel_mixers/glu/glu.h"

namespace intarsia {

void GluConfig::Visit(Fields& f) {
  f.Int("hidden", &hidden, {1, 1 << 24});
  f.ChoiceOr("activation", &activation, ActivationNames());
  f.BoolOr("bias", &bias);
  f.NumberOr("gate_multiplier", &gate_multiplier);
  f.Object("norm", &norm);
}

Glu::Glu(const GluConfig& config) : config_(config) {
  const int64_t d = config.dim, f = config.hidden;
  gate_ = book_.Matrix("gate", {f, d}, Rows());
  up_ = book_.Matrix("up", {f, d}, Rows());
  down_ = book_.Matrix("down", {d, f}, Columns());
  gate_bias_ = book_.Bias(gate_, config.bias);
  up_bias_ = book_.Bias(up_, config.bias);
  down_bias_ = book_.Bias(down_, config.bias);
  norm_ = book_.Norm("norm", config.norm, Shape({f}), Rows());
}

Tensor Glu::Forward(Context& ctx, const Tensor& x) const {
  Tensor h;
  if (config_.gate_multiplier == 1.0f) {
    h = GatedLinear(ctx, x, config_.activation,
                    {&ctx.weight(gate_), Find(ctx, gate_bias_)},
                    {&ctx.weight(up_), Find(ctx, up_bias_)});
  } else {
    auto [gate, up] = Linears(ctx, x, {{gate_, gate_bias_}, {up_, up_bias_}});
    gate = Scale(ctx, gate, config_.gate_multiplier);
    h = GatedActivation(ctx, config_.activation, gate, up);
  }
  h = ShardedNorm(ctx, norm_, h);
  return OutLinear(ctx, h, down_, down_bias_);
}

Result<std::unique_ptr<Mixer>> CreateGlu(const Json& json, int dim) {
  return MakeMixer<Glu, GluConfig>(json, "glu", dim);
}

void GluFields(Fields& f, int dim) { VisitFresh<GluConfig>(f, dim); }

std::vector<MixerExample> GluExamples() {
  return {
      {.name = "silu", .config = R"({"hidden": 96})", .dim = 32},
      {.name = "gelu_tanh_bias",
       .config = R"({"hidden": 40, "activation": "gelu_tanh", "bias": true})",
       .dim = 24},
      {.name = "gate_multiplier",
       .config = R"({"hidden": 12, "gate_multiplier": 0.3})",
       .dim = 8},
      {.name = "normed",
       .config = R"({"hidden": 12, "activation": "relu2",
                     "norm": {"type": "rms", "eps": 1e-5}})",
       .dim = 8},
      {.name = "relu",
       .config = R"({"hidden": 7, "activation": "relu"})",
       .dim = 5},
  };
}

}  // namespace intarsia
