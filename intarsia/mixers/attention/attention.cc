#include "intarsia/mixers/attention/attention.h"

#include "intarsia/cuda/kernels.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/mixers/attention/attention_cuda.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/matmul/matmul.h"

namespace intarsia {
namespace {

enum : size_t { kQ = 0, kK, kV, kO };

void Append(Context& ctx, const Tensor& rows, TokenPages* pages) {
  if (!rows.device().is_cuda()) return AppendRows(*ctx.batch, rows, pages);
  CHECK(attention_cuda::kernels != nullptr) << "no CUDA kernels in this build";
  attention_cuda::kernels->append(ctx, rows, pages);
}

}  // namespace

void AttentionConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 16});
  f.IntOr("kv_heads", &kv_heads, {1, 1 << 16}, heads, "heads");
  f.Require(heads % kv_heads == 0,
            "\"heads\" (" + std::to_string(heads) +
                ") must be a multiple of \"kv_heads\" (" +
                std::to_string(kv_heads) + ")");
  f.IntOr("head_dim", &head_dim, {1, 1 << 16},
          dim % heads == 0 ? dim / heads : 0, "the width / heads");
  f.Require(
      head_dim > 0,
      "\"head_dim\" is missing, and \"heads\" does not divide the width " +
          std::to_string(dim));
  f.FlagsOr("bias",
            {{"q", &bias_q}, {"k", &bias_k}, {"v", &bias_v}, {"o", &bias_o}});
  f.IntOr("window", &core.mask.window, {1, 1 << 30});
  using Kind = AttentionMask::Kind;
  static constexpr ChoiceName kMasks[] = {
      {"causal", Kind::kCausal}, {"bidirectional", Kind::kBidirectional}};
  f.ChoiceOrObject(
      "mask", &core.mask.kind, kMasks, Kind::kPrefix,
      [this](Fields& g) { g.Int("prefix", &core.mask.prefix, {}); });
  f.ObjectOrOff("rope", &rope, &RopeConfig::enabled,
                [this](Fields& g) { rope.Visit(g, head_dim); });
  f.Object("qk_norm", &qk_norm);
  static constexpr ChoiceName kOver[] = {{"head", false}, {"all", true}};
  f.ChoiceOr("qk_norm_over", &qk_norm_all, kOver);
  f.IntOr("out_dim", &out_dim, {1, 1 << 24}, dim, "the width");
  f.NumberOr("scale", &core.scale, "head_dim^-1/2");
  f.RequireField(core.scale >= 0, "scale", "positive");
  f.NumberOr("softcap", &core.softcap);
  f.RequireField(core.softcap >= 0, "softcap", "positive");
  f.BoolOr("sinks", &sinks);
}

Result<std::unique_ptr<Mixer>> CreateAttention(const Json& json, int dim) {
  return MakeMixer<Attention, AttentionConfig>(json, "attention", dim);
}

void AttentionFields(Fields& f, int dim) {
  VisitFresh<AttentionConfig>(f, dim);
}

Attention::Layout Attention::layout() const {
  Layout layout;
  const auto next = [&](bool has, int* index, int weights = 1) {
    if (!has) return;
    *index = layout.count;
    layout.count += weights;
  };
  next(config_.bias_q, &layout.q_bias);
  next(config_.bias_k, &layout.k_bias);
  next(config_.bias_v, &layout.v_bias);
  next(config_.bias_o, &layout.o_bias);
  layout.norm_weights = static_cast<int>(
      NormWeights(config_.qk_norm, "q_norm", config_.head_dim).size());
  next(layout.norm_weights > 0, &layout.q_norm, layout.norm_weights);
  next(layout.norm_weights > 0, &layout.k_norm, layout.norm_weights);
  next(config_.sinks, &layout.sinks);
  return layout;
}

std::vector<WeightSpec> Attention::weights() const {
  const int64_t d = config_.dim, k = config_.head_dim;
  const int64_t q_width = config_.heads * k, kv_width = config_.kv_heads * k;
  // A cut leaves each rank whole groups: the heads of a key/value head.
  const int64_t group = config_.heads / config_.kv_heads;
  std::vector<WeightSpec> specs = {
      {.name = "q_proj",
       .shape = {q_width, d},
       .shard = {0, group * k},
       .init = {}},
      {.name = "k_proj", .shape = {kv_width, d}, .shard = {0, k}, .init = {}},
      {.name = "v_proj", .shape = {kv_width, d}, .shard = {0, k}, .init = {}},
      {.name = "o_proj",
       .shape = {config_.out_dim, q_width},
       .shard = {1, group * k},
       .init = {}},
  };
  const auto vector = [&](bool has, const char* name, int64_t n,
                          ShardRule shard) {
    if (!has) return;
    specs.push_back({.name = name,
                     .shape = {n},
                     .role = WeightSpec::Role::kVector,
                     .shard = shard,
                     .init = {WeightInit::Kind::kConstant, 0.0f, 0.0f},
                     .decay = false});
  };
  vector(config_.bias_q, "q_bias", q_width, {0, group * k});
  vector(config_.bias_k, "k_bias", kv_width, {0, k});
  vector(config_.bias_v, "v_bias", kv_width, {0, k});
  vector(config_.bias_o, "o_bias", config_.out_dim, {-1, 1});
  const auto norm = [&](const char* name, int64_t width, int64_t unit) {
    const bool all = config_.qk_norm_all;
    for (WeightSpec& spec :
         NormWeights(config_.qk_norm, name, all ? width : k)) {
      if (all) spec.shard = {0, unit};
      specs.push_back(std::move(spec));
    }
  };
  norm("q_norm", q_width, group * k);
  norm("k_norm", kv_width, k);
  vector(config_.sinks, "sinks", config_.heads, {0, group});
  return specs;
}

std::vector<StateSpec> Attention::state() const {
  const AttentionMask& mask = config_.core.mask;
  if (mask.kind == AttentionMask::Kind::kBidirectional) return {};
  StateSpec spec;
  spec.shape = {config_.kv_heads, config_.head_dim};
  spec.growth = StateSpec::Growth::kToken;
  spec.rollback = StateSpec::Rollback::kTruncate;
  spec.shard_axis = 0;
  if (mask.window > 0) {
    spec.keep_first = mask.prefix;
    spec.keep_last = mask.window;
  }
  std::vector<StateSpec> specs(2, spec);
  specs[0].name = "k";
  specs[0].role = StateSpec::Role::kKey;
  specs[1].name = "v";
  specs[1].role = StateSpec::Role::kValue;
  return specs;
}

int64_t Attention::state_ends() const {
  const RopeConfig& rope = config_.rope;
  const bool changes = rope.enabled &&
                       rope.scaling == RopeConfig::Scaling::kLongRope &&
                       rope.factors != rope.long_factors;
  return changes ? rope.original_max_positions : 0;
}

Tensor Attention::Forward(Context& ctx, const Tensor& x) const {
  const Layout at = layout();
  const auto weight = [&](int i) {
    return i < 0 ? nullptr : &ctx.weight(static_cast<size_t>(i));
  };
  const auto normed = [&](const Tensor& h, int norm) {
    const auto weights = norm < 0 ? ctx.weights.subspan(0, 0)
                                  : ctx.weights.subspan(norm, at.norm_weights);
    const bool ranks =
        ctx.tensor_parallel != nullptr && ctx.tensor_parallel->size() > 1;
    if (!config_.qk_norm_all || !ranks) {
      return ApplyNorm(ctx, config_.qk_norm, h, weights);
    }
    CHECK(config_.qk_norm.kind == NormConfig::Kind::kRms && norm >= 0 &&
          !config_.qk_norm.unit_offset)
        << "ranks share no such norm over all heads";
    return ShardedRmsNorm(ctx, h, *weights[0], config_.qk_norm.eps);
  };
  const bool norms = config_.qk_norm.kind != NormConfig::Kind::kNone;
  // [T, heads of this rank, K], normed and rotated where the caller says so.
  const auto heads = [&](Tensor h, int norm, bool rotate) {
    const bool norm_this = rotate && norms;
    if (norm_this && config_.qk_norm_all) h = normed(h, norm);
    h = ReshapeView(ctx, h,
                    {h.dim(0), h.dim(1) / config_.head_dim, config_.head_dim});
    if (norm_this && !config_.qk_norm_all) h = normed(h, norm);
    if (rotate && config_.rope.enabled) h = Rope(ctx, h, config_.rope);
    return h;
  };
  const auto [flat_q, flat_k, flat_v] =
      Linears(ctx, x,
              {{&ctx.weight(kQ), weight(at.q_bias)},
               {&ctx.weight(kK), weight(at.k_bias)},
               {&ctx.weight(kV), weight(at.v_bias)}});
  const bool stored = ctx.state != nullptr && !ctx.state->entries.empty();
  Tensor q;
  AttentionKeys keys;
  const bool appended =
      stored && x.device().is_cuda() && !norms &&
      RequireKernels(attention_cuda::kernels, "attention")
          .rotate_and_append(ctx, flat_q, flat_k, flat_v, config_.rope,
                             config_.head_dim, &ctx.state->tokens(0),
                             &ctx.state->tokens(1), &q);
  if (!appended) {
    q = heads(flat_q, at.q_norm, true);
    keys.k = heads(flat_k, at.k_norm, true);
    keys.v = heads(flat_v, -1, false);
  }
  if (stored) {
    if (!appended) {
      Append(ctx, keys.k, &ctx.state->tokens(0));
      Append(ctx, keys.v, &ctx.state->tokens(1));
    }
    keys.k_pages = &ctx.state->tokens(0);
    keys.v_pages = &ctx.state->tokens(1);
  }
  const AttentionResult result =
      AttentionCore(ctx, q, keys, config_.core, weight(at.sinks));
  const Tensor flat = ReshapeView(
      ctx, result.out, {q.dim(0), q.dim(1) * int64_t{config_.head_dim}});
  // The ranks' results are summed: only one of them may add the bias.
  const bool first =
      ctx.tensor_parallel == nullptr || ctx.tensor_parallel->rank() == 0;
  return Linear(ctx, flat, ctx.weight(kO), first ? weight(at.o_bias) : nullptr);
}

std::vector<MixerExample> AttentionExamples() {
  return {
      {.name = "grouped_rope",
       .config = R"({"heads": 4, "kv_heads": 2, "head_dim": 16,
                     "rope": {"theta": 10000}})",
       .dim = 32},
      {.name = "tensor_cores",  // what tuned kernels take
       .config = R"({"heads": 4, "kv_heads": 2, "head_dim": 64,
                     "rope": {"theta": 10000}})",
       .dim = 64},
      {.name = "bias_norm",
       .config = R"({"heads": 3, "kv_heads": 1, "head_dim": 8, "bias": true,
                     "rope": {"theta": 500000, "interleaved": true},
                     "qk_norm": {"type": "rms", "eps": 1e-6}})",
       .dim = 24},
      {.name = "norm_over_all_heads",
       .config = R"({"heads": 4, "kv_heads": 2, "head_dim": 6,
                     "rope": {"theta": 10000, "dim": 4},
                     "qk_norm": {"type": "rms", "eps": 1e-6},
                     "qk_norm_over": "all"})",
       .dim = 24},
      {.name = "window",
       .config = R"({"heads": 2, "kv_heads": 2, "head_dim": 12, "window": 9,
                     "rope": {"theta": 10000, "dim": 8}})",
       .dim = 20},
      {.name = "rope_by_length",
       .config = R"({"heads": 2, "head_dim": 8, "rope": {"theta": 1000,
                     "scaling": {"type": "longrope", "factor": 4,
                     "original_max_positions": 40,
                     "short_factor": [1, 1.1, 1.2, 1.3],
                     "long_factor": [1, 2, 4, 8]}}})",
       .dim = 16},
      {.name = "rope_dynamic",
       .config = R"({"heads": 2, "head_dim": 8, "rope": {"theta": 1000,
                     "scaling": {"type": "dynamic", "factor": 2,
                     "original_max_positions": 40}}})",
       .dim = 16},
      {.name = "learned_positions",
       .config = R"({"heads": 2, "bias": {"q": true, "k": true, "v": true,
                     "o": true}, "rope": false})",
       .dim = 16},
      {.name = "sinks_softcap",
       .config = R"({"heads": 4, "kv_heads": 2, "head_dim": 10, "sinks": true,
                     "softcap": 5, "scale": 0.5, "window": 70,
                     "rope": {"theta": 10000}})",
       .dim = 16},
  };
}

}  // namespace intarsia
