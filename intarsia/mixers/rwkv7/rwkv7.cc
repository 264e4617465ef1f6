#include "intarsia/mixers/rwkv7/rwkv7.h"

#include <cmath>
#include <string>

#include "intarsia/mixers/common/token_mix.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {
namespace {

constexpr const char* kFirstValues = "v_first";
// Decays lie in (e^{−e^{−1/2}}, 1).
const float kLongest = -std::exp(-0.5f);

enum Mixed { kR, kW, kK, kV, kA, kG };

}  // namespace

void Rwkv7Config::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 14});
  f.Int("head_dim", &head_dim, {1, 1 << 12});
  f.IntOr("decay_rank", &decay_rank, {1, 1 << 16});
  f.IntOr("rate_rank", &rate_rank, {1, 1 << 16});
  f.IntOr("value_rank", &value_rank, {1, 1 << 16});
  f.IntOr("gate_rank", &gate_rank, {1, 1 << 16});
  f.NumberOr("norm_eps", &norm_eps);
  static constexpr ChoiceName kValues[] = {{"own", Values::kOwn},
                                           {"first", Values::kFirst},
                                           {"later", Values::kLater}};
  f.ChoiceOr("values", &values, kValues);
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.Require(norm_eps >= 0, "\"norm_eps\" must not be negative");
}

Rwkv7::LowRank Rwkv7::AddLowRank(const char* name, int rank, bool bias) {
  const int64_t width = int64_t{config_.heads} * config_.head_dim;
  const std::string front = name;
  LowRank low;
  low.a = book_.Matrix(front + "_a", {rank, config_.dim});
  low.b = book_.Matrix(front + "_b", {width, rank}, Rows(config_.head_dim));
  low.bias = book_.Bias(low.b, bias);
  return low;
}

Rwkv7::Rwkv7(const Rwkv7Config& config) : config_(config) {
  const int64_t dim = config.dim, N = config.head_dim;
  const int64_t width = config.heads * N;
  const WeightInit half = {WeightInit::Kind::kUniform, 0.0f, 1.0f};
  const char* const mixes[] = {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g"};
  for (size_t i = 0; i < mix_.size(); ++i) {
    mix_[i] = book_.Vector(mixes[i], {dim}, half);
  }
  r_ = book_.Matrix("r_proj", {width, dim}, Rows(N));
  k_ = book_.Matrix("k_proj", {width, dim}, Rows(N));
  v_ = book_.Matrix("v_proj", {width, dim}, Rows(N));
  decay_ = AddLowRank("decay", config.decay_rank, /*bias=*/true);
  rate_ = AddLowRank("rate", config.rate_rank, /*bias=*/true);
  if (config.values == Rwkv7Config::Values::kLater) {
    value_ = AddLowRank("value", config.value_rank, /*bias=*/true);
  }
  gate_ = AddLowRank("gate", config.gate_rank, /*bias=*/false);
  k_k_ = book_.Vector("k_k", {width}, Constant(1), Rows(N));
  k_a_ = book_.Vector("k_a", {width}, Constant(1), Rows(N));
  r_k_ = book_.Vector("r_k", {config.heads, N}, Constant(0), Rows());
  norm_ = book_.Vector("norm", {width}, Constant(1), Rows(N));
  norm_bias_ = book_.Vector("norm_bias", {width}, Constant(0), Rows(N));
  out_ = book_.Matrix("o_proj", {dim, width}, Columns(N));
}

std::vector<StateSpec> Rwkv7::state() const {
  StateSpec last, s;
  last.name = "x";
  last.role = StateSpec::Role::kShift;
  last.shape = Shape({config_.dim});
  s.name = "S";
  s.role = StateSpec::Role::kMatrix;
  s.shape = Shape({config_.heads, config_.head_dim, config_.head_dim});
  s.shard_axis = 0;
  return {last, s};
}

std::vector<StreamSpec> Rwkv7::reads() const {
  if (config_.values != Rwkv7Config::Values::kLater) return {};
  return {{kFirstValues, Shape({config_.heads * config_.head_dim})}};
}

std::vector<StreamSpec> Rwkv7::writes() const {
  if (config_.values != Rwkv7Config::Values::kFirst) return {};
  return {{kFirstValues, Shape({config_.heads * config_.head_dim})}};
}

// v + (v_first − v) ⊙ σ(value_b value_a x_v + bias).
Tensor Rwkv7::Values(Context& ctx, const Tensor& v, const Tensor& mixed) const {
  if (config_.values == Rwkv7Config::Values::kFirst && ctx.streams != nullptr) {
    (*ctx.streams)[kFirstValues] = v;
  }
  if (config_.values != Rwkv7Config::Values::kLater) return v;
  CHECK(ctx.streams != nullptr);
  const auto first = ctx.streams->find(kFirstValues);
  CHECK(first != ctx.streams->end()) << "no layer wrote " << kFirstValues;
  const Tensor raw =
      Linear(ctx, Linear(ctx, mixed, value_.a), value_.b, value_.bias);
  const Tensor apart = Add(ctx, first->second, Scale(ctx, v, -1.0f));
  return Add(ctx, v, GatedActivation(ctx, Activation::kSigmoid, raw, apart));
}

Tensor Rwkv7::Forward(Context& ctx, const Tensor& x) const {
  const int64_t N = config_.head_dim;
  const auto heads = [&](const Tensor& y) {
    return ReshapeView(ctx, y, {y.dim(0), y.dim(1) / N, N});
  };
  const TokenMixer mix(ctx, x, /*of_current=*/false,
                       ctx.state ? ctx.state->sequence(0) : Tensor());
  std::array<Tensor, 6> mixed;
  for (size_t i = 0; i < mixed.size(); ++i) {
    mixed[i] = mix.With(ctx, ctx.weight(mix_[i]));
  }
  const auto low = [&](const LowRank& of, const Tensor& in, Activation inner) {
    const Tensor h = Activate(ctx, inner, Linear(ctx, in, of.a));
    return Linear(ctx, h, of.b, of.bias);
  };
  const Tensor r = Linear(ctx, mixed[kR], r_);
  const Tensor written = Linear(ctx, mixed[kK], k_);
  const Tensor v = Values(ctx, Linear(ctx, mixed[kV], v_), mixed[kV]);
  const Tensor decay =
      Scale(ctx,
            Activate(ctx, Activation::kSigmoid,
                     low(decay_, mixed[kW], Activation::kTanh)),
            kLongest);
  const Tensor rate = Activate(
      ctx, Activation::kSigmoid,
      Linear(ctx, Linear(ctx, mixed[kA], rate_.a), rate_.b, rate_.bias));
  const Tensor gate = low(gate_, mixed[kG], Activation::kSigmoid);

  // What is removed: k ⊙ k_k of unit length. What is written: k (1 + (a − 1)
  // k_a).
  const float root = 1.0f / std::sqrt(static_cast<float>(N));
  const Tensor removed = Scale(
      ctx,
      RmsNorm(ctx, heads(AddWeighted(ctx, Tensor(), written, ctx.weight(k_k_))),
              nullptr, 1e-24f / static_cast<float>(N)),
      root);
  const Tensor less =
      Add(ctx, Mul(ctx, written, rate), Scale(ctx, written, -1.0f));
  const Tensor k = AddWeighted(ctx, written, less, ctx.weight(k_a_));
  const DeltaRuleInputs inputs = {.q = heads(r),
                                  .k = heads(k),
                                  .v = heads(v),
                                  .erase = removed,
                                  .removal = Mul(ctx, removed, heads(rate)),
                                  .log_decay = heads(decay)};
  DeltaRuleOptions options;
  options.chunk = config_.chunk;
  options.erase_before = true;
  Tensor y =
      ctx.state == nullptr
          ? DeltaRule(ctx, inputs, Tensor(), options).out
          : DeltaRuleInPlace(ctx, inputs, &ctx.state->sequence(1), options);
  y = LayerNorm(ctx, y, &ctx.weight(norm_), &ctx.weight(norm_bias_),
                config_.norm_eps);
  y = AddBonus(ctx, y, inputs.q, inputs.k, inputs.v, ctx.weight(r_k_));
  return OutLinear(ctx, Mul(ctx, ReshapeView(ctx, y, gate.shape()), gate),
                   out_);
}

Result<std::unique_ptr<Mixer>> CreateRwkv7(const Json& json, int dim) {
  return MakeMixer<Rwkv7, Rwkv7Config>(json, "rwkv7", dim);
}

void Rwkv7Fields(Fields& f, int dim) { VisitFresh<Rwkv7Config>(f, dim); }

std::vector<MixerExample> Rwkv7Examples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("published", 32,
      R"({"heads": 2, "head_dim": 16, "decay_rank": 8, "rate_rank": 8,
          "gate_rank": 12, "values": "first"})");
  add("narrow_odd_sizes", 20,
      R"({"heads": 3, "head_dim": 5, "decay_rank": 3, "rate_rank": 4,
          "gate_rank": 6, "norm_eps": 1e-4, "chunk": 24})");
  return examples;
}

}  // namespace intarsia
