#include "intarsia/mixers/mamba2/mamba2.h"

#include <cmath>

#include "intarsia/autograd/fused.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/mixers/mamba2/mamba2_vjp.h"
#include "intarsia/ops/conv1d/conv1d.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {
namespace {

enum StateIndex : size_t { kConvX, kConvB, kConvC, kSsm };

}  // namespace

void Mamba2Config::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 14});
  f.Int("head_dim", &head_dim, {1, 1 << 12});
  f.Int("state_dim", &state_dim, {1, 1 << 12});
  f.IntOr("groups", &groups, {1, 1 << 14});
  f.IntOr("conv_width", &conv_width, {2, 64});
  f.BoolOr("conv_bias", &conv_bias);
  f.ChoiceOr("conv_activation", &conv_activation, ActivationNames());
  f.BoolOr("bias", &bias);
  f.NumbersOr("in_multipliers", in_multipliers);
  f.BoolOr("norm", &norm);
  f.NumberOr("norm_eps", &norm_eps);
  f.IntOr("norm_groups", &norm_groups, {1, 1 << 14});
  f.BoolOr("norm_before_gate", &norm_before_gate);
  f.NumberOr("dt_min", &dt_min);
  f.NumberOr("dt_max", &dt_max);
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.Require(heads % groups == 0,
            "\"heads\" must be a multiple of \"groups\", got " +
                std::to_string(heads) + " and " + std::to_string(groups));
  f.Require(int64_t{heads} * head_dim % norm_groups == 0,
            "heads x head_dim must be a multiple of \"norm_groups\"");
  f.Require(dt_min >= 0 && dt_min <= dt_max,
            "\"dt_min\" must lie in [0, dt_max]");
  f.Require(norm_eps >= 0, "\"norm_eps\" must not be negative");
}

// Heads are what tensor parallelism cuts. B and C go with their groups; a
// single group is on every rank.
Mamba2::Mamba2(const Mamba2Config& config) : config_(config) {
  const int64_t dim = config.dim, heads = config.heads;
  const int64_t inner = heads * config.head_dim;
  const int64_t shared = int64_t{config.groups} * config.state_dim;
  const ShardRule by_head = Rows(config.head_dim);
  const ShardRule by_group =
      config.groups > 1 ? Rows(config.state_dim) : ShardRule();
  z_.w = book_.Matrix("in_z", {inner, dim}, by_head);
  x_.w = book_.Matrix("in_x", {inner, dim}, by_head);
  b_.w = book_.Matrix("in_B", {shared, dim}, by_group);
  c_.w = book_.Matrix("in_C", {shared, dim}, by_group);
  dt_.w = book_.Matrix("in_dt", {heads, dim}, Rows());
  for (LinearHandles* in : {&z_, &x_, &b_, &c_, &dt_}) {
    in->bias = book_.Bias(in->w, config.bias);
  }

  const int64_t width = config.conv_width;
  const float bound = 1.0f / std::sqrt(static_cast<float>(width));
  const WeightInit uniform = {WeightInit::Kind::kUniform, -bound, bound};
  conv_x_.w = book_.Vector("conv_x", {inner, width}, uniform, by_head);
  conv_b_.w = book_.Vector("conv_B", {shared, width}, uniform, by_group);
  conv_c_.w = book_.Vector("conv_C", {shared, width}, uniform, by_group);
  for (LinearHandles* conv : {&conv_x_, &conv_b_, &conv_c_}) {
    conv->bias = book_.Bias(conv->w, config.conv_bias);
  }

  using Kind = WeightInit::Kind;
  dt_bias_ = book_.Vector("dt_bias", {heads},
                          {Kind::kInverseSoftplus, 1e-3f, 1e-1f}, Rows());
  a_log_ =
      book_.Vector("A_log", {heads}, {Kind::kLogUniform, 1.0f, 16.0f}, Rows());
  d_ = book_.Vector("D", {heads}, Constant(1), Rows());
  if (config.norm) {
    norm_ = book_.Vector("norm", {inner}, Constant(1), by_head);
  }
  out_.w = book_.Matrix("out_proj", {dim, inner}, Columns(config.head_dim));
  out_.bias = book_.Bias(out_.w, config.bias);
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

Tensor Mamba2::Convolve(Context& ctx, const Tensor& x, LinearHandles conv,
                        size_t state) const {
  return CausalConv1d(ctx, x, ctx.weight(conv.w), Find(ctx, conv.bias),
                      config_.conv_activation,
                      ctx.state ? ctx.state->sequence(state) : Tensor());
}

Tensor Mamba2::GateAndNorm(Context& ctx, const Tensor& y, const Tensor& z,
                           bool gated) const {
  if (!config_.norm) {
    return gated ? y : GatedActivation(ctx, Activation::kSilu, z, y);
  }
  const Weight& scale = ctx.weight(norm_);
  const int ranks = TensorParallelSize(ctx);
  const bool shared = ranks > 1 && config_.norm_groups == 1;
  CHECK(shared || config_.norm_groups % ranks == 0)
      << "norm groups do not divide among the ranks";
  const int64_t groups = config_.norm_groups / ranks;
  if (!shared && !gated) {
    return GatedRmsNorm(ctx, y, z, &scale,
                        {.eps = config_.norm_eps,
                         .groups = groups,
                         .norm_first = config_.norm_before_gate});
  }
  auto norm = [&](const Tensor& t) {
    if (shared) return ShardedRmsNorm(ctx, t, scale, config_.norm_eps);
    const Tensor split =
        ReshapeView(ctx, t, Shape({t.dim(0), groups, t.dim(1) / groups}));
    return ReshapeView(ctx, RmsNorm(ctx, split, &scale, config_.norm_eps),
                       t.shape());
  };
  if (config_.norm_before_gate) {
    return GatedActivation(ctx, Activation::kSilu, z, norm(y));
  }
  return norm(gated ? y : GatedActivation(ctx, Activation::kSilu, z, y));
}

Tensor Mamba2::DecodeStep(Context& ctx, const Tensor& z, const Tensor& x,
                          const Tensor& b, const Tensor& c,
                          const Tensor& raw) const {
  const bool silu = config_.conv_activation == Activation::kSilu;
  if (x.device().is_cpu() || x.dtype() != DType::kBF16 ||
      ctx.state == nullptr || ctx.tape != nullptr ||
      (!silu && config_.conv_activation != Activation::kNone)) {
    return Tensor();
  }
  mamba2_cuda::Step step{.x = x,
                         .b = b,
                         .c = c,
                         .raw = raw,
                         .z = config_.norm_before_gate ? Tensor() : z,
                         .conv_x = ctx.weight(conv_x_.w),
                         .conv_b = ctx.weight(conv_b_.w),
                         .conv_c = ctx.weight(conv_c_.w),
                         .bias_x = Find(ctx, conv_x_.bias),
                         .bias_b = Find(ctx, conv_b_.bias),
                         .bias_c = Find(ctx, conv_c_.bias),
                         .silu = silu,
                         .dt_bias = ctx.weight(dt_bias_),
                         .a_log = ctx.weight(a_log_),
                         .d = ctx.weight(d_),
                         .dt_min = config_.dt_min,
                         .dt_max = config_.dt_max,
                         .head_dim = config_.head_dim,
                         .state_dim = config_.state_dim,
                         .state_x = &ctx.state->sequence(kConvX),
                         .state_b = &ctx.state->sequence(kConvB),
                         .state_c = &ctx.state->sequence(kConvC),
                         .ssm = &ctx.state->sequence(kSsm),
                         .y = Tensor()};
  RequireKernels(mamba2_cuda::kernels, "mamba2").step(ctx, step);
  return step.y;
}

Tensor Mamba2::Recur(Context& ctx, const Tensor& raw, const Tensor& x,
                     const Tensor& b, const Tensor& c) const {
  Tensor* state = ctx.state ? &ctx.state->sequence(kSsm) : nullptr;
  const auto composed = [&] {
    const auto wide = [&](const Tensor& t) {
      return Cast(ctx, t, DType::kF32);
    };
    const Tensor u = wide(x);
    const Mamba2Steps steps =
        Discretize(ctx, wide(raw), u, ctx.weight(dt_bias_), ctx.weight(a_log_),
                   config_.dt_min, config_.dt_max);
    Tensor y;
    if (state == nullptr) {
      y = Mamba2Core(ctx, wide(b), wide(c), steps, Tensor(), config_.chunk).out;
    } else {
      GatedLinearOptions options;
      options.chunk = config_.chunk;
      options.value_major = true;
      y = GatedLinearInPlace(ctx, wide(c), wide(b), steps.value,
                             steps.log_decay, state, options);
    }
    return Cast(ctx, AddSkip(ctx, y, u, ctx.weight(d_)), x.dtype());
  };
  return Fused(
      ctx, "mamba2",
      [&] {
        return OnDevice(
            x.device(), mamba2_internal::Door("mamba2"),
            [] { return Tensor(); },
            [&](const mamba2_cuda::Kernels& cuda) {
              mamba2_cuda::Recurrence call{.raw = raw.Contiguous(),
                                           .x = x.Contiguous(),
                                           .b = b.Contiguous(),
                                           .c = c.Contiguous(),
                                           .dt_bias = ctx.weight(dt_bias_),
                                           .a_log = ctx.weight(a_log_),
                                           .d = ctx.weight(d_),
                                           .dt_min = config_.dt_min,
                                           .dt_max = config_.dt_max,
                                           .state = state,
                                           .composed = composed,
                                           .y = Tensor()};
              cuda.recurrence(ctx, call);
              return call.y;
            });
      },
      composed);
}

Tensor Mamba2::Forward(Context& ctx, const Tensor& x) const {
  const int64_t rows = x.dim(0), P = config_.head_dim, N = config_.state_dim;
  std::array<Tensor, 5> in = Linears(ctx, x, {z_, x_, b_, c_, dt_});
  for (size_t i = 0; i < in.size(); ++i) {
    const float factor = config_.in_multipliers[i];
    if (factor != 1.0f) in[i] = Scale(ctx, in[i], factor);
  }
  auto& [z, u, b, c, raw] = in;
  if (const Tensor y = DecodeStep(ctx, z, u, b, c, raw); y.defined()) {
    return OutLinear(ctx, GateAndNorm(ctx, y, z, !config_.norm_before_gate),
                     out_.w, out_.bias);
  }
  u = Convolve(ctx, u, conv_x_, kConvX);
  b = Convolve(ctx, b, conv_b_, kConvB);
  c = Convolve(ctx, c, conv_c_, kConvC);

  u = ReshapeView(ctx, u, Shape({rows, u.dim(1) / P, P}));
  b = ReshapeView(ctx, b, Shape({rows, b.dim(1) / N, N}));
  c = ReshapeView(ctx, c, Shape({rows, c.dim(1) / N, N}));
  Tensor y = Recur(ctx, raw, u, b, c);
  y = ReshapeView(ctx, y, Shape({rows, y.dim(1) * P}));
  return OutLinear(ctx, GateAndNorm(ctx, y, z, false), out_.w, out_.bias);
}

Result<std::unique_ptr<Mixer>> CreateMamba2(const Json& json, int dim) {
  return MakeMixer<Mamba2, Mamba2Config>(json, "mamba2", dim);
}

void Mamba2Fields(Fields& f, int dim) { VisitFresh<Mamba2Config>(f, dim); }

std::vector<MixerExample> Mamba2Examples() {
  return {
      {.name = "published",
       .config = R"({"heads": 4, "head_dim": 16, "state_dim": 16})",
       .dim = 24},
      {.name = "tensor_cores",  // what tuned kernels take
       .config = R"({"heads": 1, "head_dim": 64, "state_dim": 64})",
       .dim = 8},
      {.name = "groups_biases_limits",
       .config = R"({"heads": 6, "head_dim": 7, "state_dim": 9, "groups": 2,
                     "conv_width": 3, "bias": true, "norm_groups": 2,
                     "dt_min": 0.01, "dt_max": 0.5, "chunk": 24})",
       .dim = 20},
      {.name = "norm_before_gate",
       .config = R"({"heads": 5, "head_dim": 8, "state_dim": 12,
                     "conv_bias": false, "norm_before_gate": true,
                     "conv_activation": "gelu"})",
       .dim = 16},
      {.name = "multipliers_without_norm",
       .config = R"({"heads": 4, "head_dim": 8, "state_dim": 8, "norm": false,
                     "in_multipliers": [0.5, 0.7, 1.2, 1.4, 0.9]})",
       .dim = 16},
  };
}

}  // namespace intarsia
