#include "intarsia/mixers/rwkv6/rwkv6.h"

#include <string>

#include "intarsia/mixers/common/token_mix.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {
namespace {

enum Mixed { kR, kW, kK, kV, kG };
constexpr const char* kNames = "rwkvg";

constexpr ChoiceName kShares[] = {{"previous", false}, {"current", true}};

}  // namespace

void Rwkv6Config::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 14});
  f.Int("head_dim", &head_dim, {1, 1 << 12});
  f.IntOr("mix_rank", &mix_rank, {0, 1 << 16});
  f.IntOr("decay_rank", &decay_rank, {0, 1 << 16});
  f.ChoiceOr("mix_of", &of_current, kShares);
  f.NumberOr("norm_eps", &norm_eps);
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.Require(norm_eps >= 0, "\"norm_eps\" must not be negative");
  f.Require(!of_current || mix_rank == 0,
            "\"mix_of\" is of constant shares: \"mix_rank\" must be 0");
  f.Require(mix_rank == 0 || decay_rank > 0,
            "shares by token (\"mix_rank\") need decays by token "
            "(\"decay_rank\")");
  f.Require(dim > 0, "the width of the residual must be positive");
}

Rwkv6::Rwkv6(const Rwkv6Config& config) : config_(config) {
  const int64_t dim = config.dim, N = config.head_dim;
  const int64_t width = config.heads * N;
  const int64_t rank = config.mix_rank;
  const WeightInit uniform = {WeightInit::Kind::kUniform, 0.0f, 1.0f};
  if (rank > 0) {
    x_x_ = book_.Vector("x_x", {dim}, uniform);
    mix_a_ = book_.Matrix("mix_a", {5 * rank, dim});
  }
  for (int i = 0; i < 5; ++i) {
    if (i == kW && config.decay_rank == 0) continue;
    share_[i] = book_.Vector(std::string("x_") + kNames[i], {dim}, uniform);
    if (rank == 0) continue;
    mix_b_[i] = book_.Matrix(std::string("mix_") + kNames[i], {dim, rank});
  }
  r_ = book_.Matrix("r_proj", {width, dim}, Rows(N));
  k_ = book_.Matrix("k_proj", {width, dim}, Rows(N));
  v_ = book_.Matrix("v_proj", {width, dim}, Rows(N));
  g_ = book_.Matrix("g_proj", {width, dim}, Rows(N));
  decay_ = book_.Vector("decay", {width},
                        {WeightInit::Kind::kUniform, -6.0f, -1.0f}, Rows(N));
  if (config.decay_rank > 0) {
    decay_a_ = book_.Matrix("decay_a", {config.decay_rank, dim});
    decay_b_ = book_.Matrix("decay_b", {width, config.decay_rank}, Rows(N));
  }
  bonus_ = book_.Vector("bonus", {config.heads, N}, uniform, Rows());
  norm_ = book_.Vector("norm", {width}, Constant(1), Rows(N));
  norm_bias_ = book_.Vector("norm_bias", {width}, Constant(0), Rows(N));
  out_ = book_.Matrix("o_proj", {dim, width}, Columns(N));
}

std::vector<StateSpec> Rwkv6::state() const {
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

std::array<Tensor, 5> Rwkv6::Mixed(Context& ctx, const Tensor& x) const {
  const TokenMixer mix(ctx, x, config_.of_current,
                       ctx.state ? ctx.state->sequence(0) : Tensor());
  std::array<Tensor, 5> mixed;
  if (config_.mix_rank == 0) {
    for (int i = 0; i < 5; ++i) {
      if (share_[i].exists()) mixed[i] = mix.With(ctx, ctx.weight(share_[i]));
    }
    return mixed;
  }
  const Tensor low =
      Activate(ctx, Activation::kTanh,
               Linear(ctx, mix.With(ctx, ctx.weight(x_x_)), mix_a_));
  for (int i = 0; i < 5; ++i) {
    const int64_t rank = config_.mix_rank;
    const Tensor part = SliceView(ctx, low, 1, i * rank, (i + 1) * rank);
    mixed[i] = mix.With(ctx, Linear(ctx, part, mix_b_[i], share_[i]));
  }
  return mixed;
}

Tensor Rwkv6::Forward(Context& ctx, const Tensor& x) const {
  const int64_t N = config_.head_dim;
  const auto heads = [&](const Tensor& y) {
    return ReshapeView(ctx, y, {y.dim(0), y.dim(1) / N, N});
  };
  const std::array<Tensor, 5> mixed = Mixed(ctx, x);
  const Tensor gate = Linear(ctx, mixed[kG], g_);
  Tensor decay;
  if (config_.decay_rank > 0) {
    const Tensor low =
        Activate(ctx, Activation::kTanh, Linear(ctx, mixed[kW], decay_a_));
    decay = Linear(ctx, low, decay_b_, decay_);
  } else {
    decay = RepeatRow(ctx, ctx.weight(decay_), x.dim(0));
  }
  const DeltaRuleInputs inputs = {.q = heads(Linear(ctx, mixed[kR], r_)),
                                  .k = heads(Linear(ctx, mixed[kK], k_)),
                                  .v = heads(Linear(ctx, mixed[kV], v_)),
                                  .erase = Tensor(),
                                  .removal = Tensor(),
                                  .log_decay = heads(NegativeExp(ctx, decay))};
  DeltaRuleOptions options;
  options.chunk = config_.chunk;
  options.before = true;
  Tensor y =
      ctx.state == nullptr
          ? DeltaRule(ctx, inputs, Tensor(), options).out
          : DeltaRuleInPlace(ctx, inputs, &ctx.state->sequence(1), options);
  y = AddBonus(ctx, y, inputs.q, inputs.k, inputs.v, ctx.weight(bonus_));
  y = LayerNorm(ctx, y, &ctx.weight(norm_), &ctx.weight(norm_bias_),
                config_.norm_eps);
  y = ReshapeView(ctx, y, gate.shape());
  return OutLinear(ctx, GatedActivation(ctx, Activation::kSilu, gate, y), out_);
}

Result<std::unique_ptr<Mixer>> CreateRwkv6(const Json& json, int dim) {
  return MakeMixer<Rwkv6, Rwkv6Config>(json, "rwkv6", dim);
}

void Rwkv6Fields(Fields& f, int dim) { VisitFresh<Rwkv6Config>(f, dim); }

std::vector<MixerExample> Rwkv6Examples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("finch", 24,
      R"({"heads": 2, "head_dim": 12, "mix_rank": 5, "decay_rank": 8})");
  add("eagle", 16,
      R"({"heads": 2, "head_dim": 9, "mix_rank": 0, "decay_rank": 0,
          "mix_of": "current", "norm_eps": 1e-4, "chunk": 24})");
  return examples;
}

}  // namespace intarsia
