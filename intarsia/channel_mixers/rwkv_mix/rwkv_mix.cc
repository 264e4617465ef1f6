#include "intarsia/channel_mixers/rwkv_mix/rwkv_mix.h"

#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/mixers/common/token_mix.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

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
  JsonReader reader(json, "rwkv_mix");
  RwkvMixConfig config;
  config.dim = dim;
  config.hidden = reader.Int("hidden", 1, 1 << 24);
  config.receptance = reader.BoolOr("receptance", false);
  const std::string of = reader.StringOr("mix_of", "previous");
  config.of_current = of == "current";
  reader.RequireField(of == "previous" || of == "current", "mix_of",
                      "\"previous\" or \"current\"");
  RETURN_IF_ERROR(reader.Finish());
  return std::unique_ptr<Mixer>(std::make_unique<RwkvMix>(config));
}

std::vector<MixerExample> RwkvMixExamples() {
  return {{.name = "rwkv7", .config = R"({"hidden": 24})", .dim = 16},
          {.name = "rwkv4",
           .config = R"({"hidden": 10, "receptance": true,
                         "mix_of": "current"})",
           .dim = 6}};
}

}  // namespace intarsia
