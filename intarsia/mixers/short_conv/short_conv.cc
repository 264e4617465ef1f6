#include "intarsia/mixers/short_conv/short_conv.h"

#include <cmath>

#include "intarsia/ops/conv1d/conv1d.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

void ShortConvConfig::Visit(Fields& f) {
  f.IntOr("width", &width, {2, 64});
  f.BoolOr("bias", &bias);
}

ShortConv::ShortConv(const ShortConvConfig& config) : config_(config) {
  const int64_t dim = config.dim;
  b_.w = book_.Matrix("in_B", {dim, dim}, Rows());
  c_.w = book_.Matrix("in_C", {dim, dim}, Rows());
  x_.w = book_.Matrix("in_x", {dim, dim}, Rows());
  for (LinearHandles* in : {&b_, &c_, &x_}) {
    in->bias = book_.Bias(in->w, config.bias);
  }
  const float bound = 1.0f / std::sqrt(static_cast<float>(config.width));
  conv_.w = book_.Vector("conv", {dim, config.width},
                         {WeightInit::Kind::kUniform, -bound, bound}, Rows());
  conv_.bias = book_.Bias(conv_.w, config.bias);
  out_.w = book_.Matrix("out_proj", {dim, dim}, Columns());
  out_.bias = book_.Bias(out_.w, config.bias);
}

std::vector<StateSpec> ShortConv::state() const {
  StateSpec s;
  s.name = "conv";
  s.role = StateSpec::Role::kConv;
  s.shape = Shape({config_.dim, config_.width - 1});
  s.shard_axis = 0;
  return {s};
}

Tensor ShortConv::Forward(Context& ctx, const Tensor& input) const {
  const auto [b, c, x] = Linears(ctx, input, {b_, c_, x_});
  const Tensor y = CausalConv1d(ctx, Mul(ctx, b, x), ctx.weight(conv_.w),
                                Find(ctx, conv_.bias), Activation::kNone,
                                ctx.state ? ctx.state->sequence(0) : Tensor());
  return OutLinear(ctx, Mul(ctx, c, y), out_.w, out_.bias);
}

Result<std::unique_ptr<Mixer>> CreateShortConv(const Json& json, int dim) {
  return MakeMixer<ShortConv, ShortConvConfig>(json, "short_conv", dim);
}

void ShortConvFields(Fields& f, int dim) {
  VisitFresh<ShortConvConfig>(f, dim);
}

std::vector<MixerExample> ShortConvExamples() {
  return {{.name = "published", .config = "{}", .dim = 32},
          {.name = "biases_seven_taps",
           .config = R"({"width": 7, "bias": true})",
           .dim = 22}};
}

}  // namespace intarsia
