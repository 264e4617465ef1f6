#include "intarsia/mixers/diff_attention/diff_attention.h"

#include <array>
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/attention/attention.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

using Lambdas = std::array<const Weight*, 4>;  // q1, k1, q2, k2

double ExpDot(const Weight& a, const Weight& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.shape().numel(); ++i) {
    sum += double{a.f32()[i]} * b.f32()[i];
  }
  return std::exp(sum);
}

double Dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    sum += double{a.data<float>()[i]} * b.data<float>()[i];
  }
  return sum;
}

// The weight is one of exp(a · b)'s two vectors: its gradient is slope times
// the other.
Tensor LambdaGradient(const Weight& other, double slope) {
  Tensor out = Tensor::Empty(other.shape());
  for (int64_t i = 0; i < out.numel(); ++i) {
    out.mutable_data<float>()[i] = static_cast<float>(slope * other.f32()[i]);
  }
  return out;
}

// a − λ b with λ = exp(q1 · k1) − exp(q2 · k2) + init.
Tensor Difference(Context& ctx, const Tensor& a, const Tensor& b,
                  const Lambdas& weights, double init) {
  const double one = ExpDot(*weights[0], *weights[1]);
  const double two = ExpDot(*weights[2], *weights[3]);
  const auto lambda = static_cast<float>(one - two + init);
  const Tensor first = a.Contiguous(), second = b.Contiguous();
  return Run(
      ctx, CpuOnly("attention_difference", "diff_attention"), a.device(),
      {a, b},
      [&] {
        Tensor y = Tensor::Empty(a.shape());
        for (int64_t i = 0; i < y.numel(); ++i) {
          y.mutable_data<float>()[i] =
              first.data<float>()[i] - lambda * second.data<float>()[i];
        }
        return y;
      },
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& g) {
        const Tensor d = g[0].Contiguous();
        for (int i = 0; i < 4; ++i) {
          tape->QueueWeightGradient(*weights[i], back, [=](Context&) {
            const double slope = -Dot(d, second) * (i < 2 ? one : -two);
            return LambdaGradient(*weights[i ^ 1], slope);
          });
        }
        return std::vector<Tensor>{d, Scale(back, d, -lambda)};
      });
}

}  // namespace

void DiffAttentionConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {2, 1 << 16});
  f.IntOr("kv_heads", &kv_heads, {2, 1 << 16}, heads, "heads");
  f.Require(kv_heads % 2 == 0 && heads % kv_heads == 0,
            "\"kv_heads\" must be even, and \"heads\" a multiple of it");
  f.IntOr("head_dim", &head_dim, {1, 1 << 16}, dim / heads,
          "the width / heads");
  f.Require(head_dim > 0, "\"head_dim\" is missing");
  f.BoolOr("bias", &bias);
  f.ObjectOrOff("rope", &rope, &RopeConfig::enabled,
                [this](Fields& g) { rope.Visit(g, head_dim); });
  f.Require(!rope.by_length(),
            "\"rope.scaling\" by the length of the sequence is not supported "
            "here",
            StatusCode::kUnsupported);
  f.NumberOr("lambda_init", &lambda_init);
  f.NumberOr("eps", &eps);
  f.RequireField(eps >= 0 && eps < 1, "eps", "in [0, 1)");
}

Result<std::unique_ptr<Mixer>> CreateDiffAttention(const Json& json, int dim) {
  return MakeMixer<DiffAttention, DiffAttentionConfig>(json, "diff_attention",
                                                       dim);
}

void DiffAttentionFields(Fields& f, int dim) {
  VisitFresh<DiffAttentionConfig>(f, dim);
}

DiffAttention::DiffAttention(const DiffAttentionConfig& config)
    : config_(config) {
  const int64_t d = config.dim, k = config.head_dim;
  q_ = book_.Matrix("q_proj", {config.heads * k, d});
  k_ = book_.Matrix("k_proj", {config.kv_heads * k, d});
  v_ = book_.Matrix("v_proj", {config.kv_heads * k, d});
  o_ = book_.Matrix("o_proj", {d, config.heads * k});
  q_bias_ = book_.Bias(q_, config.bias);
  k_bias_ = book_.Bias(k_, config.bias);
  v_bias_ = book_.Bias(v_, config.bias);
  o_bias_ = book_.Bias(o_, config.bias);
  const char* const names[] = {"lambda_q1", "lambda_k1", "lambda_q2",
                               "lambda_k2"};
  for (int i = 0; i < 4; ++i) {
    lambda_[i] =
        book_.Vector(names[i], {k}, {WeightInit::Kind::kNormal, 0.1f, 0.0f});
  }
}

std::vector<StateSpec> DiffAttention::state() const {
  StateSpec spec;
  spec.shape = {config_.kv_heads / 2, config_.head_dim};
  spec.growth = StateSpec::Growth::kToken;
  spec.rollback = StateSpec::Rollback::kTruncate;
  spec.role = StateSpec::Role::kKey;
  std::vector<StateSpec> specs(3, spec);
  specs[0].name = "k1";
  specs[1].name = "k2";
  specs[2].name = "v";
  specs[2].role = StateSpec::Role::kValue;
  specs[2].shape = {config_.kv_heads / 2, 2 * config_.head_dim};
  return specs;
}

Status DiffAttention::Supports(Device device) const {
  if (!device.is_cuda()) return Status::Ok();
  return Unsupported(
      "[diff_attention] has no CUDA kernel; run this model with --device cpu");
}

Tensor DiffAttention::Forward(Context& ctx, const Tensor& x) const {
  const int64_t K = config_.head_dim, T = x.dim(0),
                pairs = config_.kv_heads / 2;
  const auto [flat_q, flat_k, flat_v] =
      Linears(ctx, x, {{q_, q_bias_}, {k_, k_bias_}, {v_, v_bias_}});
  // Half of the columns as heads.
  const auto half = [&](const Tensor& flat, int i) {
    const int64_t width = flat.dim(1) / 2;
    const Tensor part = SliceView(ctx, flat, 1, i * width, (i + 1) * width);
    return ReshapeView(ctx, JoinColumns(ctx, {part}), {T, width / K, K});
  };
  const auto turned = [&](const Tensor& flat, int i) {
    const Tensor h = half(flat, i);
    return config_.rope.enabled ? Rope(ctx, h, config_.rope) : h;
  };
  // Head p of the first half beside head p of the second: [T, G/2, 2K].
  const Tensor first = half(flat_v, 0), second = half(flat_v, 1);
  const Tensor v =
      ReshapeView(ctx,
                  JoinColumns(ctx, {ReshapeView(ctx, first, {T * pairs, K}),
                                    ReshapeView(ctx, second, {T * pairs, K})}),
                  {T, pairs, 2 * K});
  const bool serves = ctx.state != nullptr && !ctx.state->entries.empty();
  if (serves) AppendRows(*ctx.batch, v, &ctx.state->tokens(2));
  std::vector<Tensor> outs;
  for (int i = 0; i < 2; ++i) {
    AttentionKeys keys;
    keys.k = turned(flat_k, i);
    keys.v = v;
    if (serves) {
      AppendRows(*ctx.batch, keys.k, &ctx.state->tokens(i));
      keys.k_pages = &ctx.state->tokens(i);
      keys.v_pages = &ctx.state->tokens(2);
    }
    outs.push_back(AttentionCore(ctx, turned(flat_q, i), keys, {}).out);
  }
  Lambdas weights;
  for (int i = 0; i < 4; ++i) weights[i] = &ctx.weight(lambda_[i]);
  Tensor y = Difference(ctx, outs[0], outs[1], weights, config_.lambda_init);
  y = RmsNorm(ctx, y, nullptr, config_.eps);
  y = Scale(ctx, y, static_cast<float>(1 - config_.lambda_init));
  return Linear(ctx, ReshapeView(ctx, y, flat_q.shape()), o_, o_bias_);
}

std::vector<MixerExample> DiffAttentionExamples() {
  return {{.name = "grouped",
           .config = R"({"heads": 8, "kv_heads": 4, "head_dim": 6,
                         "rope": {"theta": 10000}, "lambda_init": 0.35})",
           .dim = 20},
          {.name = "bias",
           .config = R"({"heads": 2, "head_dim": 8, "bias": true})",
           .dim = 16}};
}

}  // namespace intarsia
