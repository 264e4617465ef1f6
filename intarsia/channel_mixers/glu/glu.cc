#include "intarsia/channel_mixers/glu/glu.h"

#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/ops/matmul/matmul.h"

namespace intarsia {

std::vector<WeightSpec> Glu::weights() const {
  using Role = WeightSpec::Role;
  const int64_t d = config_.dim, f = config_.hidden;
  std::vector<WeightSpec> specs = {
      {.name = "gate", .shape = {f, d}, .shard = {0, 1}, .init = {}},
      {.name = "up", .shape = {f, d}, .shard = {0, 1}, .init = {}},
      {.name = "down", .shape = {d, f}, .shard = {1, 1}, .init = {}},
  };
  if (!config_.bias) return specs;
  const auto bias = [&](const char* name, int64_t n, int axis) {
    specs.push_back({.name = name,
                     .shape = {n},
                     .role = Role::kVector,
                     .shard = {axis, 1},
                     .init = {WeightInit::Kind::kConstant, 0.0f, 0.0f},
                     .decay = false});
  };
  bias("gate_bias", f, 0);
  bias("up_bias", f, 0);
  bias("down_bias", d, -1);
  return specs;
}

Tensor Glu::Forward(Context& ctx, const Tensor& x) const {
  const auto bias = [&](size_t i) {
    return config_.bias ? &ctx.weight(3 + i) : nullptr;
  };
  // The ranks' results are summed: only one of them may add the bias.
  const bool first =
      ctx.tensor_parallel == nullptr || ctx.tensor_parallel->rank() == 0;
  const auto [gate, up] =
      Linears(ctx, x, {{&ctx.weight(0), bias(0)}, {&ctx.weight(1), bias(1)}});
  const Tensor h = GatedActivation(ctx, config_.activation, gate, up);
  return Linear(ctx, h, ctx.weight(2), first ? bias(2) : nullptr);
}

Result<std::unique_ptr<Mixer>> CreateGlu(const Json& json, int dim) {
  JsonReader reader(json, "glu");
  GluConfig config;
  config.dim = dim;
  config.hidden = reader.Int("hidden", 1, 1 << 24);
  config.activation =
      reader.Take(ParseActivation(reader.StringOr("activation", "silu"), "glu"),
                  Activation::kSilu);
  config.bias = reader.BoolOr("bias", false);
  RETURN_IF_ERROR(reader.Finish());
  return std::unique_ptr<Mixer>(new Glu(config));
}

std::vector<MixerExample> GluExamples() {
  return {
      {.name = "silu", .config = R"({"hidden": 96})", .dim = 32},
      {.name = "gelu_tanh_bias",
       .config = R"({"hidden": 40, "activation": "gelu_tanh", "bias": true})",
       .dim = 24},
      {.name = "relu",
       .config = R"({"hidden": 7, "activation": "relu"})",
       .dim = 5},
  };
}

}  // namespace intarsia
