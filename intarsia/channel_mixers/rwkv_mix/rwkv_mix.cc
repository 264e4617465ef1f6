#include "intarsia/channel_mixers/rwkv_mix/rwkv_mix.h"

#include "intarsia/mixers/common/token_mix.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

void RwkvMixConfig::Visit(Fields& f) {
  f.Int("hidden", &hidden, {1, 1 << 24});
  f.BoolOr("receptance", &receptance);
  static constexpr ChoiceName kMixOf[] = {{"previous", false},
                                          {"current", true}};
  f.ChoiceOr("mix_of", &of_current, kMixOf);
}

RwkvMix::RwkvMix(const RwkvMixConfig& config) : config_(config) {
  const int64_t d = config.dim, f = config.hidden;
  const WeightInit share = {WeightInit::Kind::kUniform, 0.0f, 1.0f};
  x_k_ = book_.Vector("x_k", {d}, share);
  key_ = book_.Matrix("key", {f, d}, Rows());
  value_ = book_.Matrix("value", {d, f}, Columns());
  if (!config.receptance) return;
  x_r_ = book_.Vector("x_r", {d}, share);
  receptance_ = book_.Matrix("receptance", {d, d});
}

std::vector<StateSpec> RwkvMix::state() const {
  StateSpec last;
  last.name = "x";
  last.role = StateSpec::Role::kShift;
  last.shape = Shape({config_.dim});
  return {last};
}

Tensor RwkvMix::Forward(Context& ctx, const Tensor& x) const {
  const TokenMixer mix(ctx, x, config_.of_current,
                       ctx.state ? ctx.state->sequence(0) : Tensor());
  const Tensor h = Activate(ctx, Activation::kRelu2,
                            Linear(ctx, mix.With(ctx, ctx.weight(x_k_)), key_));
  const Tensor y = OutLinear(ctx, h, value_);
  if (!config_.receptance) return y;
  return GatedActivation(
      ctx, Activation::kSigmoid,
      Linear(ctx, mix.With(ctx, ctx.weight(x_r_)), receptance_), y);
}

Result<std::unique_ptr<Mixer>> CreateRwkvMix(const Json& json, int dim) {
  return MakeMixer<RwkvMix, RwkvMixConfig>(json, "rwkv_mix", dim);
}

void RwkvMixFields(Fields& f, int dim) { VisitFresh<RwkvMixConfig>(f, dim); }

std::vector<MixerExample> RwkvMixExamples() {
  return {{.name = "rwkv7", .config = R"({"hidden": 24})", .dim = 16},
          {.name = "rwkv4",
           .config = R"({"hidden": 10, "receptance": true,
                         "mix_of": "current"})",
           .dim = 6}};
}

}  // namespace intarsia
