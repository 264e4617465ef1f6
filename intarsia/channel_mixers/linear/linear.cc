#include "intarsia/channel_mixers/linear/linear.h"

namespace intarsia {

void LinearConfig::Visit(Fields& f) {
  f.IntOr("out_dim", &out, {1, 1 << 24}, dim, "the width");
  f.BoolOr("bias", &bias);
}

LinearMixer::LinearMixer(const LinearConfig& config) : config_(config) {
  weight_ = book_.Matrix("weight", {config.out, config.dim});
  bias_ = book_.Bias(weight_, config.bias);
}

Tensor LinearMixer::Forward(Context& ctx, const Tensor& x) const {
  return Linear(ctx, x, weight_, bias_);
}

Result<std::unique_ptr<Mixer>> CreateLinear(const Json& json, int dim) {
  return MakeMixer<LinearMixer, LinearConfig>(json, "linear", dim);
}

void LinearFields(Fields& f, int dim) { VisitFresh<LinearConfig>(f, dim); }

std::vector<MixerExample> LinearExamples() {
  return {{.name = "plain", .config = "{}", .dim = 12},
          {.name = "bias", .config = R"({"bias": true})", .dim = 20}};
}

}  // namespace intarsia
