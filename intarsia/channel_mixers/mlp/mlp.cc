#include "intarsia/channel_mixers/mlp/mlp.h"

#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/ops/matmul/matmul.h"

namespace intarsia {

std::vector<WeightSpec> Mlp::weights() const {
  const int64_t d = config_.dim, f = config_.hidden;
  std::vector<WeightSpec> specs;
  const auto bias = [&](const char* name, int64_t n, int axis) {
    if (!config_.bias) return;
    specs.push_back({.name = name,
                     .shape = {n},
                     .role = WeightSpec::Role::kVector,
                     .shard = {axis, 1},
                     .init = {WeightInit::Kind::kConstant, 0.0f, 0.0f},
                     .decay = false});
  };
  specs.push_back({.name = "up", .shape = {f, d}, .shard = {0, 1}, .init = {}});
  bias("up_bias", f, 0);
  specs.push_back(
      {.name = "down", .shape = {d, f}, .shard = {1, 1}, .init = {}});
  bias("down_bias", d, -1);
  return specs;
}

Tensor Mlp::Forward(Context& ctx, const Tensor& x) const {
  const size_t step = config_.bias ? 2 : 1;
  const auto bias = [&](size_t i) {
    return config_.bias ? &ctx.weight(i) : nullptr;
  };
  // The ranks' results are summed: only one of them may add the bias.
  const bool first =
      ctx.tensor_parallel == nullptr || ctx.tensor_parallel->rank() == 0;
  const Tensor up = Linear(ctx, x, ctx.weight(0), bias(1));
  const Tensor h = Activate(ctx, config_.activation, up);
  return Linear(ctx, h, ctx.weight(step), first ? bias(3) : nullptr);
}

Result<std::unique_ptr<Mixer>> CreateMlp(const Json& json, int dim) {
  JsonReader reader(json, "mlp");
  MlpConfig config;
  config.dim = dim;
  config.hidden = reader.Int("hidden", 1, 1 << 24);
  config.activation = reader.Take(
      ParseActivation(reader.StringOr("activation", "gelu_tanh"), "mlp"),
      Activation::kGeluTanh);
  config.bias = reader.BoolOr("bias", true);
  RETURN_IF_ERROR(reader.Finish());
  return std::unique_ptr<Mixer>(new Mlp(config));
}

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
