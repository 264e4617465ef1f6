#include "intarsia/channel_mixers/moe/moe.h"

#include <cmath>
#include <limits>

#include "intarsia/autograd/op.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

// Rows `ids` of a table of fp32, as rows of `like`'s type → [ids, width].
// Differentiable in the table.
Tensor TableRows(Context& ctx, const Weight& table, int64_t width,
                 std::vector<int32_t> ids, const Tensor& like) {
  const int64_t count = table.shape().numel() / width;
  Context plain = ctx;
  plain.tape = nullptr;
  const Tensor rows = RunAnywhere(
      ctx, "table_rows", {},
      [&] {
        return GatherRows(plain, table.values().Reshape({count, width}), ids);
      },
      [tape = ctx.tape, &table, count, ids](Context& ctx,
                                            const std::vector<Tensor>& g) {
        tape->QueueWeightGradient(
            table, ctx, [&table, count, ids, g = g[0]](Context& ctx) {
              return CombineRows(ctx, g, ids, Tensor(), count)
                  .Reshape(table.shape());
            });
        return std::vector<Tensor>{};
      });
  return Cast(ctx, rows, like.dtype());
}

// The expert of each row.
std::vector<int32_t> ExpertOfRows(std::span<const int32_t> offsets) {
  std::vector<int32_t> ids(offsets.back() - offsets.front());
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    std::fill(ids.begin() + (offsets[e] - offsets[0]),
              ids.begin() + (offsets[e + 1] - offsets[0]),
              static_cast<int32_t>(e));
  }
  return ids;
}

// h plus each row's expert's row of a table, if there is one.
Tensor AddExpertBias(Context& ctx, const Tensor& h, const Weight* bias,
                     std::span<const int32_t> offsets) {
  if (bias == nullptr) return h;
  return Add(ctx, h, TableRows(ctx, *bias, h.dim(1), ExpertOfRows(offsets), h));
}

Tensor Activated(Context& ctx, const MoeConfig& config, Tensor gate,
                 Tensor up) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float limit = config.clamp > 0 ? config.clamp : infinity;
  if (!config.gated) {
    return Activate(ctx, config.activation,
                    config.clamp > 0 ? Clamp(ctx, up, -limit, limit) : up);
  }
  if (config.clamp > 0) gate = Clamp(ctx, gate, -infinity, limit);
  if (config.clamp > 0 || config.up_offset != 0) {
    up = Clamp(ctx, up, -limit, limit, config.up_offset);
  }
  return GatedActivation(ctx, config.activation, gate, up);
}

}  // namespace

void MoeConfig::Visit(Fields& f) {
  constexpr int kMost = 1 << 16;
  f.Int("experts", &experts, {1, kMost});
  f.IntOr("identity_experts", &identity_experts, {0, kMost});
  f.Int("top_k", &top_k, {1, 1024});
  f.Require(top_k <= choices(), "\"top_k\" (" + std::to_string(top_k) +
                                    ") is more than there are \"experts\" (" +
                                    std::to_string(choices()) + ")");
  f.Int("hidden", &hidden, {1, 1 << 24});
  f.ChoiceOr("activation", &activation, ActivationNames());
  f.BoolOr("gated", &gated);
  f.BoolOr("bias", &bias);
  f.NumberOr("clamp", &clamp);
  f.RequireField(clamp >= 0, "clamp", "positive, or 0 for none");
  f.NumberOr("up_offset", &up_offset);
  f.Require(gated || up_offset == 0, "\"up_offset\" needs \"gated\" experts");
  f.IntOr("latent", &latent, {0, 1 << 24});
  f.Require(latent == 0 || identity_experts == 0,
            "\"latent\" and \"identity_experts\" exclude each other");
  f.Object("input_norm", &input_norm);
  f.BoolOr("output_bias", &output_bias);

  f.Object("router_norm", &router_norm);
  f.NumberOr("router_input_scale", &router_input_scale);
  f.BoolOr("router_bias", &router_bias);
  static constexpr ChoiceName kScores[] = {
      {"softmax", RouterScore::kSoftmax},
      {"sigmoid", RouterScore::kSigmoid},
      {"sqrt_softplus", RouterScore::kSqrtSoftplus}};
  f.ChoiceOr("router_score", &score, kScores);
  f.BoolOr("select_bias", &select_bias);
  f.IntOr("groups", &groups, {1, kMost});
  f.IntOr("top_groups", &top_groups, {1, kMost});
  static constexpr ChoiceName kGroups[] = {{"max", GroupScore::kMax},
                                           {"top_two", GroupScore::kTopTwo}};
  f.ChoiceOr("group_score", &group_score, kGroups);
  f.Require(choices() % groups == 0 && top_groups <= groups &&
                top_k <= choices() / groups * top_groups,
            "\"groups\" must divide the experts, and \"top_groups\" of them "
            "must have \"top_k\" experts");
  f.BoolOr("normalize", &normalize);
  // The softmax stands before or after the choice. Over the chosen alone it
  // sums to 1 by itself.
  enum class Softmax { kBefore, kAfter } softmax = Softmax::kBefore;
  static constexpr ChoiceName kPlaces[] = {{"before", Softmax::kBefore},
                                           {"after", Softmax::kAfter}};
  f.ChoiceOr("router_softmax", &softmax, kPlaces);
  f.Require(softmax == Softmax::kBefore || score == RouterScore::kSoftmax,
            "\"router_softmax\" needs \"router_score\": \"softmax\"");
  if (softmax == Softmax::kAfter) normalize = true;
  f.NumberOr("normalize_eps", &normalize_eps);
  f.RequireField(normalize_eps >= 0, "normalize_eps", "positive, or 0");
  f.NumberOr("routed_scale", &routed_scale);
  f.BoolOr("expert_scale", &expert_scale);
  f.NumberOr("sparse_mixer", &sparse_mixer);
  f.RequireField(sparse_mixer >= 0, "sparse_mixer", "positive, or 0 for none");
  f.Require(sparse_mixer == 0 ||
                (!select_bias && groups == 1 && normalize &&
                 normalize_eps == 0 && score == RouterScore::kSoftmax),
            "\"sparse_mixer\" is a router of its own: without "
            "\"select_bias\", \"groups\", \"router_score\" and "
            "\"normalize\"");

  f.IntOr("shared_hidden", &shared_hidden, {0, 1 << 24});
  f.BoolOr("shared_router", &shared_router);
  f.Require(!shared_router || shared_hidden > 0,
            "\"shared_router\" needs \"shared_hidden\"");
  constexpr int64_t kMaxNumbers = int64_t{1} << 44;  // in one stack of experts
  f.Require(int64_t{hidden} * expert_dim() <= kMaxNumbers / experts,
            "\"experts\" of \"hidden\" by the width have more than 2^44 "
            "numbers");
}

Tensor ComputeExperts(Context& ctx, const MoeConfig& config, const Tensor& rows,
                      std::span<const int32_t> offsets,
                      const Experts& experts) {
  Tensor gate, up;
  if (config.gated) {
    const Weight* const both[] = {experts.gate, experts.up};
    const std::vector<Tensor> in = GroupedLinears(ctx, rows, both, offsets);
    gate = AddExpertBias(ctx, in[0], experts.gate_bias, offsets);
    up = AddExpertBias(ctx, in[1], experts.up_bias, offsets);
  } else {
    up = AddExpertBias(ctx, GroupedLinear(ctx, rows, *experts.up, offsets),
                       experts.up_bias, offsets);
  }
  const Tensor h = Activated(ctx, config, gate, up);
  return AddExpertBias(ctx, GroupedLinear(ctx, h, *experts.down, offsets),
                       experts.down_bias, offsets);
}

Tensor CombineExperts(Context& ctx, const Tensor& rows,
                      const MoeDispatch& dispatch, const Tensor& weights,
                      int64_t begin) {
  const int64_t count = rows.dim(0);
  const std::span<const int32_t> places(dispatch.places.data() + begin, count);
  const Tensor flat = ReshapeView(ctx, weights, {weights.numel(), 1});
  const Tensor sorted = GatherRows(ctx, flat, places);
  return CombineRows(ctx, rows, {dispatch.tokens.data() + begin, places.size()},
                     ReshapeView(ctx, sorted, {count}), weights.dim(0));
}

Moe::Moe(const MoeConfig& config) : config_(config) {
  const int64_t d = config.dim, f = config.hidden, e = config.experts;
  const int64_t s = config.shared_hidden, w = config.expert_dim();
  router_norm_ = book_.Norm("router_norm", config.router_norm, d);
  router_ = book_.Matrix("router", {config.choices(), d});
  router_bias_ = book_.Bias(router_, config.router_bias);
  if (config.select_bias) {
    select_bias_ = book_.Vector("select_bias", {config.choices()}, Constant(0));
  }
  if (config.expert_scale) {
    expert_scale_ =
        book_.Vector("expert_scale", {config.choices()}, Constant(1));
  }
  input_norm_ = book_.Norm("input_norm", config.input_norm, d);
  if (config.latent > 0) latent_down_ = book_.Matrix("latent_down", {w, d});
  if (config.gated) gate_ = book_.Matrix("gate", {e, f, w}, {1, 1});
  up_ = book_.Matrix("up", {e, f, w}, {1, 1});
  down_ = book_.Matrix("down", {e, w, f}, {2, 1});
  if (config.bias) {
    if (config.gated) {
      gate_bias_ = book_.Vector("gate_bias", {e, f}, Constant(0), {1, 1});
    }
    up_bias_ = book_.Vector("up_bias", {e, f}, Constant(0), {1, 1});
    down_bias_ = book_.Vector("down_bias", {e, w}, Constant(0));
  }
  if (config.latent > 0) latent_up_ = book_.Matrix("latent_up", {d, w});
  if (config.output_bias) {
    output_bias_ = book_.Vector("output_bias", {d}, Constant(0));
  }
  if (s == 0) return;
  if (config.gated) {
    shared_gate_ = book_.Matrix("shared_gate", {s, d}, Rows());
  }
  shared_up_ = book_.Matrix("shared_up", {s, d}, Rows());
  shared_down_ = book_.Matrix("shared_down", {d, s}, Columns());
  if (config.shared_router) {
    shared_router_ = book_.Matrix("shared_router", {1, d});
  }
}

MoeRouting Moe::Route(Context& ctx, const Tensor& x) const {
  // Which experts are chosen must not hang on a rounding.
  Context wide = ctx;
  wide.dtype = DType::kF32;
  Tensor in = ApplyNorm(wide, router_norm_, Cast(ctx, x, DType::kF32));
  if (config_.router_input_scale != 1.0f) {
    in = Scale(wide, in, config_.router_input_scale);
  }
  MoeRouting routing =
      RouteTokens(ctx, config_, Linear(wide, in, router_, router_bias_),
                  Find(ctx, select_bias_));
  if (config_.expert_scale) {
    const Tensor factors =
        TableRows(wide, ctx.weight(expert_scale_), 1, routing.experts, in);
    routing.weights = Mul(
        wide, routing.weights,
        ReshapeView(wide, factors, {routing.weights.dim(0), config_.top_k}));
  }
  return routing;
}

Tensor Moe::Routed(Context& ctx, const Tensor& x,
                   const MoeRouting& routing) const {
  const MoeDispatch dispatch = DispatchTokens(config_, routing);
  const std::span<const int32_t> tokens(dispatch.tokens);
  const auto offsets = std::span(dispatch.offsets).first(config_.experts + 1);
  const int64_t computed = offsets.back();
  Tensor in = ApplyNorm(ctx, input_norm_, x);
  if (config_.latent > 0) in = Linear(ctx, in, latent_down_);
  const bool first = TensorParallelRank(ctx) == 0;
  Tensor y = CombineExperts(
      ctx,
      ComputeExperts(ctx, config_, GatherRows(ctx, in, tokens.first(computed)),
                     offsets,
                     {.gate = Find(ctx, gate_),
                      .up = Find(ctx, up_),
                      .down = Find(ctx, down_),
                      .gate_bias = Find(ctx, gate_bias_),
                      .up_bias = Find(ctx, up_bias_),
                      .down_bias = first ? Find(ctx, down_bias_) : nullptr}),
      dispatch, routing.weights);
  if (config_.identity_experts > 0 && first) {
    const Tensor same = GatherRows(ctx, in, tokens.subspan(computed));
    y = Add(ctx, y,
            CombineExperts(ctx, same, dispatch, routing.weights, computed));
  }
  if (config_.latent > 0) y = Linear(ctx, y, latent_up_);
  if (config_.output_bias && first) {
    y = Add(ctx, y,
            TableRows(ctx, ctx.weight(output_bias_), config_.dim,
                      std::vector<int32_t>(y.dim(0), 0), y));
  }
  return y;
}

Tensor Moe::Shared(Context& ctx, const Tensor& x) const {
  Tensor gate, up;
  if (config_.gated) {
    auto both = Linears(ctx, x, {{shared_gate_}, {shared_up_}});
    gate = both[0];
    up = both[1];
  } else {
    up = Linear(ctx, x, shared_up_);
  }
  const Tensor y =
      OutLinear(ctx, Activated(ctx, config_, gate, up), shared_down_);
  if (!config_.shared_router) return y;
  const Tensor factor =
      Activate(ctx, Activation::kSigmoid, Linear(ctx, x, shared_router_));
  std::vector<int32_t> rows(x.dim(0));
  for (size_t t = 0; t < rows.size(); ++t) rows[t] = static_cast<int32_t>(t);
  return CombineRows(
      ctx, y, rows,
      ReshapeView(ctx, Cast(ctx, factor, DType::kF32), {x.dim(0)}), x.dim(0));
}

Tensor Moe::Forward(Context& ctx, const Tensor& x) const {
  const Tensor y = Routed(ctx, x, Route(ctx, x));
  return config_.shared_hidden == 0 ? y : Add(ctx, y, Shared(ctx, x));
}

Result<std::unique_ptr<Mixer>> CreateMoe(const Json& json, int dim) {
  return MakeMixer<Moe, MoeConfig>(json, "moe", dim);
}

void MoeFields(Fields& f, int dim) { VisitFresh<MoeConfig>(f, dim); }

std::vector<MixerExample> MoeExamples() {
  return {
      {.name = "mixtral",
       .config = R"({"experts": 8, "top_k": 2, "hidden": 24})",
       .dim = 16},
      {.name = "softmax_over_all",
       .config = R"({"experts": 5, "top_k": 3, "hidden": 10,
                     "normalize": false, "activation": "gelu_tanh"})",
       .dim = 12},
      {.name = "shared",
       .config = R"({"experts": 6, "top_k": 1, "hidden": 12,
                     "router_softmax": "before", "normalize": false,
                     "shared_hidden": 20})",
       .dim = 8},
      {.name = "deepseek_v3",
       .config = R"({"experts": 8, "top_k": 3, "hidden": 12,
                     "router_score": "sigmoid", "select_bias": true,
                     "groups": 4, "top_groups": 2, "group_score": "top_two",
                     "normalize_eps": 1e-20, "routed_scale": 2.5,
                     "shared_hidden": 12})",
       .dim = 16},
      {.name = "gpt_oss",
       .config = R"({"experts": 4, "top_k": 2, "hidden": 12,
                     "activation": "quick_gelu", "router_bias": true,
                     "bias": true, "clamp": 0.75, "up_offset": 1})",
       .dim = 16},
      {.name = "latent",
       .config = R"({"experts": 6, "top_k": 2, "hidden": 12, "gated": false,
                     "activation": "relu2", "router_score": "sqrt_softplus",
                     "latent": 8, "shared_hidden": 10,
                     "shared_router": true})",
       .dim = 16},
      {.name = "identities",
       .config = R"({"experts": 4, "identity_experts": 2, "top_k": 3,
                     "hidden": 12, "normalize": false, "select_bias": true,
                     "expert_scale": true, "output_bias": true,
                     "router_norm": {"type": "rms"},
                     "router_input_scale": 2,
                     "input_norm": {"type": "layer"}})",
       .dim = 16},
      {.name = "sparse_mixer",
       .config = R"({"experts": 6, "top_k": 2, "hidden": 12,
                     "sparse_mixer": 0.2})",
       .dim = 16},
  };
}

}  // namespace intarsia
