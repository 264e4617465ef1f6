#include "intarsia/mixers/mamba/mamba.h"

#include <cmath>

#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/ops/conv1d/conv1d.h"

namespace intarsia {
namespace {

enum StateIndex : size_t { kConv, kSsm };

}  // namespace

void MambaConfig::Visit(Fields& f) {
  f.Int("inner", &inner, {1, 1 << 20});
  f.Int("state_dim", &state_dim, {1, 1 << 12});
  f.Int("dt_rank", &dt_rank, {1, 1 << 16});
  f.IntOr("conv_width", &conv_width, {2, 64});
  f.BoolOr("conv_bias", &conv_bias);
  f.BoolOr("bias", &bias);
  f.Object("norm", &norm);
}

// Channels are what tensor parallelism cuts; steps, B and C need the sum of all
// ranks.
Mamba::Mamba(const MambaConfig& config) : config_(config) {
  using Kind = WeightInit::Kind;
  const int64_t dim = config.dim, inner = config.inner;
  const int64_t rank = config.dt_rank, states = config.state_dim;
  x_.w = book_.Matrix("in_x", {inner, dim}, Rows());
  x_.bias = book_.Bias(x_.w, config.bias);
  z_.w = book_.Matrix("in_z", {inner, dim}, Rows());
  z_.bias = book_.Bias(z_.w, config.bias);
  const float bound = 1.0f / std::sqrt(static_cast<float>(config.conv_width));
  conv_.w = book_.Vector("conv_x", {inner, config.conv_width},
                         {Kind::kUniform, -bound, bound}, Rows());
  conv_.bias = book_.Bias(conv_.w, config.conv_bias);
  x_dt_ = book_.Matrix("x_dt", {rank, inner}, Columns());
  x_b_ = book_.Matrix("x_B", {states, inner}, Columns());
  x_c_ = book_.Matrix("x_C", {states, inner}, Columns());
  dt_norm_ = book_.Norm("dt_norm", config.norm, rank);
  b_norm_ = book_.Norm("B_norm", config.norm, states);
  c_norm_ = book_.Norm("C_norm", config.norm, states);
  dt_proj_ = book_.Matrix("dt_proj", {inner, rank}, Rows());
  dt_bias_ = book_.Vector("dt_bias", {inner},
                          {Kind::kInverseSoftplus, 1e-3f, 1e-1f}, Rows());
  a_log_ = book_.Vector("A_log", {inner, states},
                        {Kind::kLogUniform, 1.0f, 16.0f}, Rows());
  d_ = book_.Vector("D", {inner}, Constant(1), Rows());
  out_.w = book_.Matrix("out_proj", {dim, inner}, Columns());
  out_.bias = book_.Bias(out_.w, config.bias);
}

std::vector<StateSpec> Mamba::state() const {
  StateSpec conv;
  conv.name = "conv_x";
  conv.role = StateSpec::Role::kConv;
  conv.shape = Shape({config_.inner, config_.conv_width - 1});
  conv.shard_axis = 0;
  StateSpec ssm = conv;
  ssm.name = "ssm";
  ssm.role = StateSpec::Role::kMatrix;
  ssm.shape = Shape({config_.inner, config_.state_dim});
  return {conv, ssm};
}

Tensor Mamba::Forward(Context& ctx, const Tensor& input) const {
  const auto [in, z] = Linears(ctx, input, {x_, z_});
  const Tensor x = CausalConv1d(
      ctx, in, ctx.weight(conv_.w), Find(ctx, conv_.bias), Activation::kSilu,
      ctx.state ? ctx.state->sequence(kConv) : Tensor());
  const auto low = Linears(ctx, x, {{x_dt_}, {x_b_}, {x_c_}});
  const auto whole = [&](const Tensor& part, const NormHandle& norm) {
    const Tensor sum = EnterTensorParallel(ctx, LeaveTensorParallel(ctx, part));
    return ApplyNorm(ctx, norm, sum);
  };
  const Tensor dt = Linear(ctx, whole(low[0], dt_norm_), dt_proj_);
  const SelectiveScanInputs scan = {x,
                                    dt,
                                    whole(low[1], b_norm_),
                                    whole(low[2], c_norm_),
                                    z,
                                    ctx.weight(a_log_),
                                    ctx.weight(d_),
                                    ctx.weight(dt_bias_)};
  const Tensor y = SelectiveScan(
      ctx, scan, ctx.state ? &ctx.state->sequence(kSsm) : nullptr);
  return OutLinear(ctx, y, out_.w, out_.bias);
}

Result<std::unique_ptr<Mixer>> CreateMamba(const Json& json, int dim) {
  return MakeMixer<Mamba, MambaConfig>(json, "mamba", dim);
}

void MambaFields(Fields& f, int dim) { VisitFresh<MambaConfig>(f, dim); }

std::vector<MixerExample> MambaExamples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("published", 24, R"({"inner": 48, "state_dim": 16, "dt_rank": 2})");
  add("norms_biases_odd_sizes", 10,
      R"({"inner": 37, "state_dim": 5, "dt_rank": 3, "conv_width": 3,
          "bias": true, "norm": {"type": "rms", "eps": 1e-6}})");
  add("norms_without_weights", 16,
      R"({"inner": 70, "state_dim": 16, "dt_rank": 4, "conv_bias": false,
          "norm": {"type": "rms", "eps": 1e-6, "affine": false}})");
  return examples;
}

}  // namespace intarsia
