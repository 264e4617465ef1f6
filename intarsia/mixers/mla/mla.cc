#include "intarsia/mixers/mla/mla.h"

#include <cmath>

#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {

void MlaConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 14});
  f.IntOr("query_rank", &query_rank, {0, 1 << 20});
  f.Int("rank", &rank, {1, 1 << 16});
  f.Int("key_dim", &key_dim, {1, 1 << 12});
  f.Int("rope_dim", &rope_dim, {1, 1 << 12});
  f.Int("value_dim", &value_dim, {1, 1 << 12});
  f.ObjectOrOff("rope", &rope, &RopeConfig::enabled,
                [this](Fields& g) { rope.Visit(g, rope_dim); });
  f.NumberOr("norm_eps", &norm_eps);
  f.NumberOr("scale", &scale);
  f.BoolOr("gate", &gate);
  f.Require(!rope.enabled || rope_dim % 2 == 0,
            "rope turns pairs of channels: \"rope_dim\" must be even");
  f.Require(!rope.by_length(),
            "\"rope.scaling\" by the length of the sequence is not "
            "supported: kept keys are rotated",
            StatusCode::kUnsupported);
  f.Require(scale >= 0, "\"scale\" must be positive");
  f.Require(norm_eps >= 0, "\"norm_eps\" must not be negative");
  f.Require(dim > 0, "the width of the residual must be positive");
}

// Heads are what tensor parallelism cuts; latents are on every rank.
Mla::Mla(const MlaConfig& config) : config_(config) {
  const int64_t dim = config.dim, H = config.heads, R = config.rank;
  const int64_t N = config.key_dim, P = config.rope_dim, V = config.value_dim;
  const NormConfig norm = {.kind = NormConfig::Kind::kRms,
                           .eps = config.norm_eps};
  int64_t from = dim;
  if (config.query_rank > 0) {
    from = config.query_rank;
    q_a_ = book_.Matrix("q_a", {from, dim});
    q_norm_ = book_.Norm("q_norm", norm, from);
  }
  q_nope_ = book_.Matrix("q_nope", {H * N, from}, Rows(N));
  q_rope_ = book_.Matrix("q_rope", {H * P, from}, Rows(P));
  kv_a_ = book_.Matrix("kv_a", {R, dim});
  k_rope_ = book_.Matrix("k_rope", {P, dim});
  kv_norm_ = book_.Norm("kv_norm", norm, R);
  k_up_ = book_.Matrix("k_up", {H * N, R}, Rows(N));
  v_up_ = book_.Matrix("v_up", {H * V, R}, Rows(V));
  if (config.gate) gate_ = book_.Matrix("g_proj", {H, dim}, Rows());
  out_ = book_.Matrix("o_proj", {dim, H * V}, Columns(V));
}

std::vector<StateSpec> Mla::state() const {
  StateSpec c;
  c.name = "c";
  c.role = StateSpec::Role::kLatent;
  c.shape = Shape({1, config_.rank + config_.rope_dim});
  c.growth = StateSpec::Growth::kToken;
  c.rollback = StateSpec::Rollback::kTruncate;
  return {c};
}

Status Mla::Supports(Device device) const {
  if (device.is_cpu()) return Status::Ok();
  return Unsupported(
      "[mla] has no CUDA kernels; run this model with --device cpu");
}

Tensor Mla::Forward(Context& ctx, const Tensor& x) const {
  const int64_t rows = x.dim(0), R = config_.rank, P = config_.rope_dim;
  const int64_t N = config_.key_dim, V = config_.value_dim;
  const auto turn = [&](const Tensor& t) {
    return config_.rope.enabled ? Rope(ctx, t, config_.rope) : t;
  };
  Tensor from = x;
  if (config_.query_rank > 0) {
    from = ApplyNorm(ctx, q_norm_, Linear(ctx, x, q_a_));
  }
  const std::vector<Tensor> q =
      Linears(ctx, from, std::vector<LinearHandles>{{q_nope_}, {q_rope_}});
  const std::vector<Tensor> kv =
      Linears(ctx, x, std::vector<LinearHandles>{{kv_a_}, {k_rope_}});
  const int64_t heads = q[0].dim(1) / N;
  // q_h·(U_h c) = (q_h U_h)·c: queries go to the latent's space, so that
  // nothing but it is ever kept or read.
  const Tensor latent = MapHeads(ctx, ReshapeView(ctx, q[0], {rows, heads, N}),
                                 ctx.weight(k_up_), false);
  const Tensor turned = turn(ReshapeView(ctx, q[1], {rows, heads, P}));
  const auto join = [&](const Tensor& a, const Tensor& b, int64_t count) {
    const Tensor both =
        JoinColumns(ctx, {ReshapeView(ctx, a, {rows * count, R}),
                          ReshapeView(ctx, b, {rows * count, P})});
    return ReshapeView(ctx, both, {rows, count, R + P});
  };
  AttentionKeys keys;
  keys.k = join(ApplyNorm(ctx, kv_norm_, kv[0]),
                turn(ReshapeView(ctx, kv[1], {rows, 1, P})), 1);
  keys.v = keys.k;
  if (ctx.state != nullptr) {
    TokenPages* pages = &ctx.state->tokens(0);
    AppendRows(*ctx.batch, keys.k, pages);
    keys.k_pages = keys.v_pages = pages;
  }
  AttentionCoreConfig core;
  core.scale =
      config_.scale > 0 ? config_.scale : 1.0 / std::sqrt(double(N + P));
  const Tensor seen =
      AttentionCore(ctx, join(latent, turned, heads), keys, core).out;
  Tensor y = MapHeads(ctx, seen, ctx.weight(v_up_), true);
  if (config_.gate) {
    const Tensor gate =
        Activate(ctx, Activation::kSigmoid, Linear(ctx, x, gate_));
    // One factor for all channels of a head.
    std::vector<int32_t> all(rows * heads);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
    const Tensor flat = ReshapeView(ctx, y, {rows * heads, V});
    y = CombineRows(ctx, flat, all, ReshapeView(ctx, gate, {rows * heads}),
                    rows * heads);
  }
  return OutLinear(ctx, ReshapeView(ctx, y, {rows, heads * V}), out_);
}

Result<std::unique_ptr<Mixer>> CreateMla(const Json& json, int dim) {
  return MakeMixer<Mla, MlaConfig>(json, "mla", dim);
}

void MlaFields(Fields& f, int dim) { VisitFresh<MlaConfig>(f, dim); }

std::vector<MixerExample> MlaExamples() {
  MixerExample turned, plain;
  turned.name = "query_rank";
  turned.dim = 20;
  turned.config = R"({"heads": 4, "query_rank": 10, "rank": 12, "key_dim": 6,
                      "rope_dim": 4, "value_dim": 5,
                      "rope": {"interleaved": true, "theta": 500}})";
  plain.name = "no_positions_gated";
  plain.dim = 16;
  plain.config = R"({"heads": 2, "rank": 9, "key_dim": 8, "rope_dim": 3,
                     "value_dim": 7, "rope": false, "gate": true,
                     "norm_eps": 1e-5, "scale": 0.4})";
  return {turned, plain};
}

}  // namespace intarsia
