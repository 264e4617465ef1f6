#include "intarsia/mixers/rwkv4/rwkv4.h"

#include "intarsia/mixers/common/token_mix.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

void Rwkv4Config::Visit(Fields& f) {
  f.IntOr("width", &width, {1, 1 << 20}, dim, "the width of the residual");
  f.Require(dim > 0, "the width of the residual must be positive");
}

Rwkv4::Rwkv4(const Rwkv4Config& config) : config_(config) {
  using Kind = WeightInit::Kind;
  const int64_t dim = config.dim, width = config.width;
  const WeightInit share = {Kind::kUniform, 0.0f, 1.0f};
  x_k_ = book_.Vector("x_k", {dim}, share);
  x_v_ = book_.Vector("x_v", {dim}, share);
  x_r_ = book_.Vector("x_r", {dim}, share);
  k_ = book_.Matrix("k_proj", {width, dim}, Rows());
  v_ = book_.Matrix("v_proj", {width, dim}, Rows());
  r_ = book_.Matrix("r_proj", {width, dim}, Rows());
  decay_ =
      book_.Vector("decay", {width}, {Kind::kUniform, -5.0f, 1.0f}, Rows());
  bonus_ =
      book_.Vector("bonus", {width}, {Kind::kUniform, -1.0f, 1.0f}, Rows());
  out_ = book_.Matrix("o_proj", {dim, width}, Columns());
}

std::vector<StateSpec> Rwkv4::state() const {
  const auto spec = [&](const char* name, int width, float init) {
    StateSpec s;
    s.name = name;
    s.role = StateSpec::Role::kMatrix;
    s.shape = Shape({width});
    s.init = init;
    s.shard_axis = 0;
    return s;
  };
  StateSpec last = spec("x", config_.dim, 0.0f);
  last.role = StateSpec::Role::kShift;
  last.shard_axis = -1;
  // Nothing has been seen: a weight of e^p = 0.
  return {last, spec("a", config_.width, 0.0f), spec("b", config_.width, 0.0f),
          spec("p", config_.width, -1e38f)};
}

Tensor Rwkv4::Forward(Context& ctx, const Tensor& x) const {
  StateView* state = ctx.state;
  const TokenMixer mix(ctx, x, /*of_current=*/true,
                       state ? state->sequence(0) : Tensor());
  const auto project = [&](WeightHandle share, WeightHandle w) {
    return Linear(ctx, mix.With(ctx, ctx.weight(share)), w);
  };
  const Tensor k = project(x_k_, k_), v = project(x_v_, v_);
  WkvStates states = {};
  if (state != nullptr) {
    states = {&state->sequence(1), &state->sequence(2), &state->sequence(3)};
  }
  const Tensor y = Wkv(ctx, k, v, ctx.weight(decay_), ctx.weight(bonus_),
                       state ? &states : nullptr);
  return OutLinear(
      ctx, GatedActivation(ctx, Activation::kSigmoid, project(x_r_, r_), y),
      out_);
}

Result<std::unique_ptr<Mixer>> CreateRwkv4(const Json& json, int dim) {
  return MakeMixer<Rwkv4, Rwkv4Config>(json, "rwkv4", dim);
}

void Rwkv4Fields(Fields& f, int dim) { VisitFresh<Rwkv4Config>(f, dim); }

std::vector<MixerExample> Rwkv4Examples() {
  MixerExample published, wide;
  published.name = "published";
  published.dim = 24;
  published.config = "{}";
  published.chunked = false;
  wide = published;
  wide.name = "wide";
  wide.dim = 6;
  wide.config = R"({"width": 20})";
  return {published, wide};
}

}  // namespace intarsia
