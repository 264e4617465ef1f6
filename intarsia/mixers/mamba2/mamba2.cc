#include "intarsia/mixers/mamba2/mamba2.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/ops/conv1d/conv1d.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {
namespace {

using Role = WeightSpec::Role;

enum StateIndex : size_t { kConvX, kConvB, kConvC, kSsm };

WeightSpec Spec(const std::string& name, const Shape& shape, Role role,
                ShardRule shard, WeightInit init = WeightInit()) {
  WeightSpec spec;
  spec.name = name;
  spec.shape = shape;
  spec.role = role;
  spec.shard = shard;
  spec.init = init;
  spec.decay = role == Role::kMatrix;
  return spec;
}

WeightInit Constant(float value) {
  return {WeightInit::Kind::kConstant, value, 0.0f};
}

int Ranks(const Context& ctx) {
  return ctx.tensor_parallel == nullptr ? 1 : ctx.tensor_parallel->size();
}

const Weight* Optional(const Context& ctx, int place) {
  return place < 0 ? nullptr : &ctx.weight(place);
}

}  // namespace

Result<Mamba2Config> ParseMamba2(const Json& json, int dim) {
  JsonReader reader(json, "mamba2");
  Mamba2Config c;
  c.dim = dim;
  auto whole = [&](const char* name, int fallback, int high) {
    return reader.IntOr(name, fallback, 1, high);
  };
  c.heads = reader.Int("heads", 1, 1 << 14);
  c.head_dim = reader.Int("head_dim", 1, 1 << 12);
  c.state_dim = reader.Int("state_dim", 1, 1 << 12);
  c.groups = whole("groups", c.groups, 1 << 14);
  c.conv_width = whole("conv_width", c.conv_width, 64);
  c.conv_bias = reader.BoolOr("conv_bias", c.conv_bias);
  c.bias = reader.BoolOr("bias", c.bias);
  c.norm_eps = static_cast<float>(reader.NumberOr("norm_eps", c.norm_eps));
  c.norm_groups = whole("norm_groups", c.norm_groups, 1 << 14);
  c.norm_before_gate = reader.BoolOr("norm_before_gate", c.norm_before_gate);
  c.dt_min = static_cast<float>(reader.NumberOr("dt_min", c.dt_min));
  c.dt_max = static_cast<float>(reader.NumberOr("dt_max", c.dt_max));
  c.chunk = whole("chunk", c.chunk, 1 << 12);
  reader.Require(c.heads % c.groups == 0,
                 "\"heads\" must be a multiple of \"groups\", got " +
                     std::to_string(c.heads) + " and " +
                     std::to_string(c.groups));
  reader.Require(int64_t{c.heads} * c.head_dim % c.norm_groups == 0,
                 "heads x head_dim must be a multiple of \"norm_groups\"");
  reader.Require(c.conv_width >= 2, "\"conv_width\" must be at least 2");
  reader.Require(c.dt_min >= 0 && c.dt_min <= c.dt_max,
                 "\"dt_min\" must lie in [0, dt_max]");
  reader.Require(c.norm_eps >= 0, "\"norm_eps\" must not be negative");
  reader.Require(dim > 0, "the width of the residual must be positive");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

Mamba2::Mamba2(const Mamba2Config& config) : config_(config) {
  AddProjections();
  AddConvolutions();
  AddRest();
}

int Mamba2::Add(WeightSpec spec) {
  specs_.push_back(std::move(spec));
  return static_cast<int>(specs_.size()) - 1;
}

// Heads are what tensor parallelism cuts. B and C go with their groups; a
// single group is on every rank.
void Mamba2::AddProjections() {
  const int64_t dim = config_.dim, heads = config_.heads;
  const int64_t inner = heads * config_.head_dim;
  const int64_t shared = int64_t{config_.groups} * config_.state_dim;
  const ShardRule by_head = {0, config_.head_dim}, by_step = {0, 1};
  const ShardRule by_group =
      config_.groups > 1 ? ShardRule{0, config_.state_dim} : ShardRule{};
  auto matrix = [&](const char* name, int64_t rows, ShardRule rule) {
    return Add(Spec(name, Shape({rows, dim}), Role::kMatrix, rule));
  };
  at_.z = matrix("in_z", inner, by_head);
  at_.x = matrix("in_x", inner, by_head);
  at_.b = matrix("in_B", shared, by_group);
  at_.c = matrix("in_C", shared, by_group);
  at_.dt = matrix("in_dt", heads, by_step);
  if (!config_.bias) return;
  auto bias = [&](const char* name, int64_t rows, ShardRule rule) {
    return Add(Spec(name, Shape({rows}), Role::kVector, rule, Constant(0)));
  };
  at_.z_bias = bias("in_z_bias", inner, by_head);
  at_.x_bias = bias("in_x_bias", inner, by_head);
  at_.b_bias = bias("in_B_bias", shared, by_group);
  at_.c_bias = bias("in_C_bias", shared, by_group);
  at_.in_dt_bias = bias("in_dt_bias", heads, by_step);
}

void Mamba2::AddConvolutions() {
  const int64_t inner = int64_t{config_.heads} * config_.head_dim;
  const int64_t shared = int64_t{config_.groups} * config_.state_dim;
  const ShardRule by_head = {0, config_.head_dim};
  const ShardRule by_group =
      config_.groups > 1 ? ShardRule{0, config_.state_dim} : ShardRule{};
  const float bound = 1.0f / std::sqrt(static_cast<float>(config_.conv_width));
  const WeightInit uniform = {WeightInit::Kind::kUniform, -bound, bound};
  auto add = [&](const char* name, int64_t rows, ShardRule rule) {
    return Add(Spec(name, Shape({rows, config_.conv_width}), Role::kVector,
                    rule, uniform));
  };
  at_.conv_x = add("conv_x", inner, by_head);
  at_.conv_b = add("conv_B", shared, by_group);
  at_.conv_c = add("conv_C", shared, by_group);
  if (!config_.conv_bias) return;
  auto bias = [&](const char* name, int64_t rows, ShardRule rule) {
    return Add(Spec(name, Shape({rows}), Role::kVector, rule, Constant(0)));
  };
  at_.conv_x_bias = bias("conv_x_bias", inner, by_head);
  at_.conv_b_bias = bias("conv_B_bias", shared, by_group);
  at_.conv_c_bias = bias("conv_C_bias", shared, by_group);
}

void Mamba2::AddRest() {
  const int64_t dim = config_.dim, heads = config_.heads;
  const int64_t inner = heads * config_.head_dim;
  auto by_head = [&](const char* name, WeightInit init) {
    return Add(Spec(name, Shape({heads}), Role::kVector, {0, 1}, init));
  };
  at_.dt_bias =
      by_head("dt_bias", {WeightInit::Kind::kInverseSoftplus, 1e-3f, 1e-1f});
  at_.a_log = by_head("A_log", {WeightInit::Kind::kLogUniform, 1.0f, 16.0f});
  at_.d = by_head("D", Constant(1));
  at_.norm = Add(Spec("norm", Shape({inner}), Role::kVector,
                      {0, config_.head_dim}, Constant(1)));
  at_.out = Add(Spec("out_proj", Shape({dim, inner}), Role::kMatrix,
                     {1, config_.head_dim}));
  if (config_.bias) {
    at_.out_bias =
        Add(Spec("out_bias", Shape({dim}), Role::kVector, {}, Constant(0)));
  }
}

std::vector<StateSpec> Mamba2::state() const {
  const int64_t inner = int64_t{config_.heads} * config_.head_dim;
  const int64_t shared = int64_t{config_.groups} * config_.state_dim;
  const int shared_axis = config_.groups > 1 ? 0 : -1;
  auto spec = [](const char* name, StateSpec::Role role, const Shape& shape,
                 int axis) {
    StateSpec s;
    s.name = name;
    s.role = role;
    s.shape = shape;
    s.growth = StateSpec::Growth::kSequence;
    s.shard_axis = axis;
    return s;
  };
  const StateSpec::Role conv = StateSpec::Role::kConv;
  const int64_t past = config_.conv_width - 1;
  return {spec("conv_x", conv, Shape({inner, past}), 0),
          spec("conv_B", conv, Shape({shared, past}), shared_axis),
          spec("conv_C", conv, Shape({shared, past}), shared_axis),
          spec("ssm", StateSpec::Role::kMatrix,
               Shape({config_.heads, config_.head_dim, config_.state_dim}), 0)};
}

Tensor Mamba2::Project(Context& ctx, const Tensor& x, int weight,
                       int bias) const {
  return Linear(ctx, x, ctx.weight(weight), Optional(ctx, bias));
}

Tensor Mamba2::Convolve(Context& ctx, const Tensor& x, int weight, int bias,
                        size_t state) const {
  return CausalConv1d(ctx, x, ctx.weight(weight), Optional(ctx, bias),
                      Activation::kSilu,
                      ctx.state ? ctx.state->sequence(state) : Tensor());
}

Tensor Mamba2::GateAndNorm(Context& ctx, const Tensor& y,
                           const Tensor& z) const {
  const Weight& scale = ctx.weight(at_.norm);
  const int ranks = Ranks(ctx);
  auto norm = [&](const Tensor& t) {
    if (ranks > 1 && config_.norm_groups == 1) {
      return ShardedRmsNorm(ctx, t, scale, config_.norm_eps);
    }
    CHECK_EQ(config_.norm_groups % ranks, 0)
        << "norm groups do not divide among the ranks";
    const int64_t groups = config_.norm_groups / ranks;
    const Tensor split =
        ReshapeView(ctx, t, Shape({t.dim(0), groups, t.dim(1) / groups}));
    return ReshapeView(ctx, RmsNorm(ctx, split, &scale, config_.norm_eps),
                       t.shape());
  };
  if (config_.norm_before_gate) {
    return GatedActivation(ctx, Activation::kSilu, z, norm(y));
  }
  return norm(GatedActivation(ctx, Activation::kSilu, z, y));
}

Tensor Mamba2::Forward(Context& ctx, const Tensor& x) const {
  const int64_t rows = x.dim(0), P = config_.head_dim, N = config_.state_dim;
  auto [z, u, b, c, raw] =
      Linears(ctx, x,
              {{&ctx.weight(at_.z), Optional(ctx, at_.z_bias)},
               {&ctx.weight(at_.x), Optional(ctx, at_.x_bias)},
               {&ctx.weight(at_.b), Optional(ctx, at_.b_bias)},
               {&ctx.weight(at_.c), Optional(ctx, at_.c_bias)},
               {&ctx.weight(at_.dt), Optional(ctx, at_.in_dt_bias)}});
  u = Convolve(ctx, u, at_.conv_x, at_.conv_x_bias, kConvX);
  b = Convolve(ctx, b, at_.conv_b, at_.conv_b_bias, kConvB);
  c = Convolve(ctx, c, at_.conv_c, at_.conv_c_bias, kConvC);

  u = ReshapeView(ctx, u, Shape({rows, u.dim(1) / P, P}));
  b = ReshapeView(ctx, b, Shape({rows, b.dim(1) / N, N}));
  c = ReshapeView(ctx, c, Shape({rows, c.dim(1) / N, N}));
  const Mamba2Steps steps =
      Discretize(ctx, raw, u, ctx.weight(at_.dt_bias), ctx.weight(at_.a_log),
                 config_.dt_min, config_.dt_max);
  Tensor y;
  if (ctx.state == nullptr) {
    y = Mamba2Core(ctx, b, c, steps, Tensor(), config_.chunk).out;
  } else {
    GatedLinearOptions options;
    options.chunk = config_.chunk;
    options.value_major = true;
    y = GatedLinearInPlace(ctx, c, b, steps.value, steps.log_decay,
                           &ctx.state->sequence(kSsm), options);
  }
  y = AddSkip(ctx, y, u, ctx.weight(at_.d));
  y = ReshapeView(ctx, y, Shape({rows, y.dim(1) * P}));
  y = GateAndNorm(ctx, y, z);
  // Ranks add their partial products: one of them brings the bias.
  const bool first =
      ctx.tensor_parallel == nullptr || ctx.tensor_parallel->rank() == 0;
  return Project(ctx, y, at_.out, first ? at_.out_bias : -1);
}

Result<std::unique_ptr<Mixer>> CreateMamba2(const Json& json, int dim) {
  ASSIGN_OR_RETURN(const Mamba2Config config, ParseMamba2(json, dim));
  return std::unique_ptr<Mixer>(std::make_unique<Mamba2>(config));
}

std::vector<MixerExample> Mamba2Examples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("published", 24, R"({"heads": 4, "head_dim": 16, "state_dim": 16})");
  add("groups_biases_limits", 20,
      R"({"heads": 6, "head_dim": 7, "state_dim": 9, "groups": 2,
          "conv_width": 3, "bias": true, "norm_groups": 2, "dt_min": 0.01,
          "dt_max": 0.5, "chunk": 24})");
  add("norm_before_gate", 16,
      R"({"heads": 5, "head_dim": 8, "state_dim": 12, "conv_bias": false,
          "norm_before_gate": true})");
  return examples;
}

}  // namespace intarsia
