#include "intarsia/channel_mixers/mlp/mlp.h"

#include "intarsia/channel_mixers/mlp/xielu.h"

namespace intarsia {

void MlpConfig::Visit(Fields& f) {
  f.Int("hidden", &hidden, {1, 1 << 24});
  f.ChoiceOr("activation", &activation, ActivationNames());
  f.BoolOr("xielu", &xielu);
  f.BoolOr("bias", &bias);
}

Mlp::Mlp(const MlpConfig& config) : config_(config) {
  const int64_t d = config.dim, f = config.hidden;
  up_ = book_.Matrix("up", {f, d}, Rows());
  up_bias_ = book_.Bias(up_, config.bias);
  down_ = book_.Matrix("down", {d, f}, Columns());
  down_bias_ = book_.Bias(down_, config.bias);
  if (!config.xielu) return;
  const std::pair<const char*, float> parameters[] = {
      {"alpha_p", 0.2f}, {"alpha_n", -1.05f}, {"beta", 0.5f}, {"eps", -1e-6f}};
  for (int i = 0; i < 4; ++i) {
    xielu_[i] =
        book_.Vector(parameters[i].first, {1}, Constant(parameters[i].second));
  }
}

Status Mlp::Supports(Device device) const {
  if (!device.is_cuda() || !config_.xielu) return Mixer::Supports(device);
  return Unsupported(
      "[mlp] xielu has no CUDA kernel; run this model with --device cpu");
}

Tensor Mlp::Forward(Context& ctx, const Tensor& x) const {
  const Tensor up = Linear(ctx, x, up_, up_bias_);
  const Tensor h = config_.xielu
                       ? Xielu(ctx, up,
                               {&ctx.weight(xielu_[0]), &ctx.weight(xielu_[1]),
                                &ctx.weight(xielu_[2]), &ctx.weight(xielu_[3])})
                       : Activate(ctx, config_.activation, up);
  return OutLinear(ctx, h, down_, down_bias_);
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
      {.name = "xielu",
       .config = R"({"hidden": 24, "xielu": true, "bias": false})",
       .dim = 16},
      {.name = "gelu",
       .config = R"({"hidden": 9, "activation": "gelu"})",
       .dim = 5},
  };
}

}  // namespace intarsia
