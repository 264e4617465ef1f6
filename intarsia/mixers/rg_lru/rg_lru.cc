#include "intarsia/mixers/rg_lru/rg_lru.h"

#include <cmath>

#include "intarsia/ops/conv1d/conv1d.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

enum StateIndex : size_t { kConv, kHidden };

}  // namespace

void RgLruConfig::Visit(Fields& f) {
  f.Int("inner", &inner, {1, 1 << 20});
  f.Int("heads", &heads, {1, 1 << 14});
  f.IntOr("conv_width", &conv_width, {2, 64});
  f.BoolOr("bias", &bias);
  f.BoolOr("conv_bias", &conv_bias);
  f.ChoiceOr("activation", &activation, ActivationNames());
  f.Require(inner % heads == 0,
            "\"inner\" must be a multiple of \"heads\", got " +
                std::to_string(inner) + " and " + std::to_string(heads));
  f.Require(dim > 0, "the width of the residual must be positive");
}

// Heads are what tensor parallelism cuts.
RgLru::RgLru(const RgLruConfig& config) : config_(config) {
  using Kind = WeightInit::Kind;
  const int64_t dim = config.dim, inner = config.inner, heads = config.heads;
  const int64_t block = inner / heads;
  const ShardRule by_head = Rows(block);
  x_.w = book_.Matrix("in_x", {inner, dim}, by_head);
  x_.bias = book_.Bias(x_.w, config.bias);
  y_.w = book_.Matrix("in_y", {inner, dim}, by_head);
  y_.bias = book_.Bias(y_.w, config.bias);
  const float bound = 1.0f / std::sqrt(static_cast<float>(config.conv_width));
  conv_.w = book_.Vector("conv_x", {inner, config.conv_width},
                         {Kind::kUniform, -bound, bound}, by_head);
  conv_.bias = book_.Bias(conv_.w, config.conv_bias);
  r_ = book_.Matrix("recurrent_gate", {heads, block, block}, Rows());
  g_ = book_.Matrix("input_gate", {heads, block, block}, Rows());
  r_bias_ = book_.Vector("recurrent_gate_bias", {inner}, Constant(0), by_head);
  g_bias_ = book_.Vector("input_gate_bias", {inner}, Constant(0), by_head);
  // a = 0.9 ... 0.999 where the gate is open.
  param_ = book_.Vector("recurrent_param", {inner},
                        {Kind::kUniform, -8.9f, -4.3f}, by_head);
  out_.w = book_.Matrix("out_proj", {dim, inner}, Columns(block));
  out_.bias = book_.Bias(out_.w, config.bias);
}

std::vector<StateSpec> RgLru::state() const {
  StateSpec conv;
  conv.name = "conv_x";
  conv.role = StateSpec::Role::kConv;
  conv.shape = Shape({config_.inner, config_.conv_width - 1});
  conv.shard_axis = 0;
  StateSpec hidden = conv;
  hidden.name = "h";
  hidden.role = StateSpec::Role::kMatrix;
  hidden.shape = Shape({config_.inner});
  return {conv, hidden};
}

std::vector<Tensor> RgLru::Gates(Context& ctx, const Tensor& x) const {
  const int64_t tokens = x.dim(0), block = config_.inner / config_.heads;
  const int64_t heads = x.dim(1) / block;
  // Rows by head for the product, and back by token.
  std::vector<int32_t> by_head, by_token, offsets(heads + 1);
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      by_head.push_back(static_cast<int32_t>(t * heads + h));
    }
    offsets[h + 1] = static_cast<int32_t>((h + 1) * tokens);
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      by_token.push_back(static_cast<int32_t>(h * tokens + t));
    }
  }
  const Tensor rows =
      GatherRows(ctx, ReshapeView(ctx, x, {tokens * heads, block}), by_head);
  const Weight* const gates[] = {&ctx.weight(r_), &ctx.weight(g_)};
  std::vector<Tensor> out = GroupedLinears(ctx, rows, gates, offsets);
  for (Tensor& gate : out) {
    gate = ReshapeView(ctx, GatherRows(ctx, gate, by_token), x.shape());
  }
  return out;
}

Tensor RgLru::Forward(Context& ctx, const Tensor& input) const {
  const auto [in, open] = Linears(ctx, input, {x_, y_});
  const Tensor x = CausalConv1d(
      ctx, in, ctx.weight(conv_.w), Find(ctx, conv_.bias), Activation::kNone,
      ctx.state ? ctx.state->sequence(kConv) : Tensor());
  const std::vector<Tensor> gates = Gates(ctx, x);
  const Tensor h =
      RgLruCore(ctx,
                {x, gates[0], gates[1], ctx.weight(param_), ctx.weight(r_bias_),
                 ctx.weight(g_bias_)},
                ctx.state ? &ctx.state->sequence(kHidden) : nullptr);
  return OutLinear(ctx, GatedActivation(ctx, config_.activation, open, h),
                   out_.w, out_.bias);
}

Result<std::unique_ptr<Mixer>> CreateRgLru(const Json& json, int dim) {
  return MakeMixer<RgLru, RgLruConfig>(json, "rg_lru", dim);
}

void RgLruFields(Fields& f, int dim) { VisitFresh<RgLruConfig>(f, dim); }

std::vector<MixerExample> RgLruExamples() {
  return {{.name = "published",
           .config = R"({"inner": 48, "heads": 4})",
           .dim = 32},
          {.name = "no_biases_odd_sizes",
           .config = R"({"inner": 66, "heads": 6, "conv_width": 3,
                         "bias": false, "conv_bias": false,
                         "activation": "silu"})",
           .dim = 18}};
}

}  // namespace intarsia
