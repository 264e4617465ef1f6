#include "intarsia/mixers/attention/attention.h"

#include <cmath>

#include "intarsia/cuda/kernels.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/mixers/attention/attention_cuda.h"
#include "intarsia/mixers/attention/dynamic_mask.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/matmul/matmul.h"

namespace intarsia {
namespace {

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
  AttentionMask& mask = core.mask;
  f.IntOr("window", &mask.window, {1, 1 << 30});
  f.IntOr("chunk", &mask.chunk, {1, 1 << 30});
  using Kind = AttentionMask::Kind;
  static constexpr ChoiceName kMasks[] = {
      {"causal", Kind::kCausal}, {"bidirectional", Kind::kBidirectional}};
  f.ChoiceOrObject("mask", &mask.kind, kMasks, Kind::kPrefix,
                   [&](Fields& g) { g.Int("prefix", &mask.prefix, {}); });
  f.Require(mask.chunk == 0 || mask.kind == Kind::kCausal,
            "\"chunk\" goes with a causal mask only");
  f.ObjectOrOff("rope", &rope, &RopeConfig::enabled,
                [this](Fields& g) { rope.Visit(g, head_dim); });
  f.Object("qk_norm", &qk_norm);
  static constexpr ChoiceName kOver[] = {
      {"head", Over::kHead}, {"all", Over::kAll}, {"each", Over::kEach}};
  f.ChoiceOr("qk_norm_over", &qk_norm_over, kOver);
  f.BoolOr("qk_norm_after_rope", &qk_norm_after_rope);
  f.Require(!qk_norm_after_rope || qk_norm_over != Over::kAll,
            "\"qk_norm_after_rope\" needs a norm of each head");
  f.Object("v_norm", &v_norm);
  f.Object("out_norm", &out_norm);
  static constexpr ChoiceName kGates[] = {{"none", Gate::kNone},
                                          {"element", Gate::kElement},
                                          {"head", Gate::kHead}};
  f.ChoiceOr("gate", &gate, kGates);
  f.NumberOr("clip", &clip);
  f.RequireField(clip >= 0, "clip", "positive");
  f.NumberOr("alibi", &alibi);
  f.RequireField(alibi >= 0, "alibi", "positive");
  f.BoolOr("dynamic_mask", &dynamic_mask);
  f.IntOr("keep", &core.keep, {1, 1 << 30});
  f.Require(dynamic_mask || core.keep == 0, "\"keep\" needs \"dynamic_mask\"");
  f.Require(!dynamic_mask || (mask.kind == Kind::kCausal && mask.window == 0 &&
                              mask.chunk == 0),
            "\"dynamic_mask\" goes with a causal mask alone");
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

std::vector<float> AlibiSlopes(int heads) {
  int power = 1;
  while (2 * power <= heads) power *= 2;
  std::vector<float> slopes;
  for (int i = 1; i <= power; ++i) {
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * i / power)));
  }
  for (int i = 1; static_cast<int>(slopes.size()) < heads; i += 2) {
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * i / power)));
  }
  return slopes;
}

Attention::Attention(const AttentionConfig& config) : config_(config) {
  const AttentionConfig& c = config;
  const int64_t d = c.dim, k = c.head_dim, h = c.heads, g = c.kv_heads;
  // A cut leaves each rank whole groups: the heads of a key/value head.
  const int64_t group = h / g;
  q_ = book_.Matrix("q_proj", {h * k, d}, Rows(group * k));
  k_ = book_.Matrix("k_proj", {g * k, d}, Rows(k));
  v_ = book_.Matrix("v_proj", {g * k, d}, Rows(k));
  o_ = book_.Matrix("o_proj", {c.out_dim, h * k}, Columns(group * k));
  q_bias_ = book_.Bias(q_, c.bias_q);
  k_bias_ = book_.Bias(k_, c.bias_k);
  v_bias_ = book_.Bias(v_, c.bias_v);
  o_bias_ = book_.Bias(o_, c.bias_o);
  const auto qk_norm = [&](const char* name, int64_t heads, int64_t unit) {
    switch (c.qk_norm_over) {
      case AttentionConfig::Over::kAll:
        return book_.Norm(name, c.qk_norm, Shape({heads * k}), Rows(unit * k));
      case AttentionConfig::Over::kEach:
        return book_.Norm(name, c.qk_norm, Shape({heads, k}), Rows(unit));
      case AttentionConfig::Over::kHead:
        break;
    }
    return book_.Norm(name, c.qk_norm, k);
  };
  q_norm_ = qk_norm("q_norm", h, group);
  k_norm_ = qk_norm("k_norm", g, 1);
  v_norm_ = book_.Norm("v_norm", c.v_norm, k);
  out_norm_ =
      book_.Norm("out_norm", c.out_norm, Shape({h * k}), Rows(group * k));
  if (c.sinks) sinks_ = book_.Vector("sinks", {h}, Constant(0), Rows(group));
  if (c.gate != AttentionConfig::Gate::kNone) {
    const int64_t width = c.gate == AttentionConfig::Gate::kHead ? 1 : k;
    gate_ = book_.Matrix("g_proj", {h * width, d}, Rows(group * width));
  }
  if (c.dynamic_mask) {
    // Of all heads' values: ranks cannot share them out.
    mask_ = book_.Matrix("mask_proj", {g, g * k}, Rows(g));
    mask_decay_ = book_.Vector("mask_decay", {g}, Constant(0));
  }
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
  } else if (mask.chunk > 0) {
    spec.keep_last = mask.chunk;
  }
  std::vector<StateSpec> specs(config_.dynamic_mask ? 3 : 2, spec);
  specs[0].name = "k";
  specs[0].role = StateSpec::Role::kKey;
  specs[1].name = "v";
  specs[1].role = StateSpec::Role::kValue;
  if (config_.dynamic_mask) {
    specs[2].name = "mask";
    specs[2].shape = {config_.kv_heads, 1};
  }
  return specs;
}

int64_t Attention::state_ends() const {
  const RopeConfig& rope = config_.rope;
  const bool changes = rope.enabled &&
                       rope.scaling == RopeConfig::Scaling::kLongRope &&
                       rope.factors != rope.long_factors;
  return changes ? rope.original_max_positions : 0;
}

Status Attention::Supports(Device device) const {
  if (!device.is_cuda()) return Status::Ok();
  const char* what = config_.alibi > 0             ? "\"alibi\""
                     : config_.core.mask.chunk > 0 ? "\"chunk\""
                     : config_.dynamic_mask        ? "\"dynamic_mask\""
                     : config_.gate == AttentionConfig::Gate::kHead
                         ? "\"gate\" \"head\""
                         : nullptr;
  if (what == nullptr) return Mixer::Supports(device);
  return Unsupported(std::string("[attention] ") + what +
                     " has no CUDA kernel; run this model with --device cpu");
}

// [T, heads of this rank · K] → [T, heads, K], normed and rotated.
Tensor Attention::NormAndTurn(Context& ctx, const Tensor& flat,
                              const NormHandle& norm) const {
  const bool all = config_.qk_norm_over == AttentionConfig::Over::kAll;
  const bool after = config_.qk_norm_after_rope;
  Tensor h = all ? ShardedNorm(ctx, norm, flat) : flat;
  h = ReshapeView(ctx, h,
                  {h.dim(0), h.dim(1) / config_.head_dim, config_.head_dim});
  if (!all && !after) h = ApplyNorm(ctx, norm, h);
  if (config_.rope.enabled) h = Rope(ctx, h, config_.rope);
  return after ? ApplyNorm(ctx, norm, h) : h;
}

Tensor Attention::Forward(Context& ctx, const Tensor& x) const {
  const int64_t K = config_.head_dim;
  std::vector<LinearHandles> layers = {
      {q_, q_bias_}, {k_, k_bias_}, {v_, v_bias_}};
  if (gate_.exists()) layers.push_back({gate_});
  std::vector<Tensor> flat = Linears(ctx, x, layers);
  for (int i = 0; config_.clip > 0 && i < 3; ++i) {
    const auto clip = static_cast<float>(config_.clip);
    flat[i] = Clamp(ctx, flat[i], -clip, clip);
  }
  const bool stored = ctx.state != nullptr && !ctx.state->entries.empty();
  constexpr auto kNone = NormConfig::Kind::kNone;
  Tensor q;
  AttentionKeys keys;
  const bool appended =
      stored && x.device().is_cuda() && config_.qk_norm.kind == kNone &&
      config_.v_norm.kind == kNone &&
      RequireKernels(attention_cuda::kernels, "attention")
          .rotate_and_append(ctx, flat[0], flat[1], flat[2], config_.rope,
                             config_.head_dim, &ctx.state->tokens(0),
                             &ctx.state->tokens(1), &q);
  if (!appended) {
    q = NormAndTurn(ctx, flat[0], q_norm_);
    keys.k = NormAndTurn(ctx, flat[1], k_norm_);
    keys.v = ReshapeView(ctx, flat[2], {x.dim(0), flat[2].dim(1) / K, K});
    keys.v = ApplyNorm(ctx, v_norm_, keys.v);
  }
  if (config_.dynamic_mask) {
    keys.bias =
        DynamicMask(ctx, Linear(ctx, flat[2], mask_), ctx.weight(mask_decay_));
  }
  if (stored) {
    if (!appended) {
      Append(ctx, keys.k, &ctx.state->tokens(0));
      Append(ctx, keys.v, &ctx.state->tokens(1));
    }
    keys.k_pages = &ctx.state->tokens(0);
    keys.v_pages = &ctx.state->tokens(1);
    if (config_.dynamic_mask) {
      Append(ctx, keys.bias, &ctx.state->tokens(2));
      keys.bias_pages = &ctx.state->tokens(2);
    }
  }
  AttentionCoreConfig core = config_.core;
  if (config_.alibi > 0) {
    const std::vector<float> all = AlibiSlopes(config_.heads);
    const int64_t first = TensorParallelRank(ctx) * q.dim(1);
    for (int64_t h = first; h < first + q.dim(1); ++h) {
      core.slopes.push_back(static_cast<float>(config_.alibi) * all[h]);
    }
  }
  const AttentionResult result =
      AttentionCore(ctx, q, keys, core, Find(ctx, sinks_));
  Tensor y = ReshapeView(ctx, result.out, flat[0].shape());
  if (gate_.exists()) {
    const Tensor gate = config_.gate == AttentionConfig::Gate::kHead
                            ? RepeatEach(ctx, flat[3], K)
                            : flat[3];
    y = GatedActivation(ctx, Activation::kSigmoid, gate, y);
  }
  return OutLinear(ctx, ShardedNorm(ctx, out_norm_, y), o_, o_bias_);
}

}  // namespace intarsia
