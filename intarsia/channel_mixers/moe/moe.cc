#include "intarsia/channel_mixers/moe/moe.h"

#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

// The k largest of n logits, best first; of equals the lower index. A NaN is
// neither larger nor smaller, so it can only take the place it stands at.
void TopK(const float* logits, int64_t n, int64_t k, int32_t* chosen) {
  for (int64_t rank = 0; rank < k; ++rank) {
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      if (std::find(chosen, chosen + rank, e) != chosen + rank) continue;
      if (best < 0 || logits[e] > logits[best]) best = e;
    }
    chosen[rank] = best;
  }
}

// Softmax over the chosen logits, or their part of the softmax over all.
void RoutingWeights(const float* logits, int64_t n, const int32_t* chosen,
                    int64_t k, bool normalize, float* weights) {
  const double most = logits[chosen[0]];
  double sum = 0;
  if (normalize) {
    for (int64_t r = 0; r < k; ++r) sum += std::exp(logits[chosen[r]] - most);
  } else {
    for (int64_t e = 0; e < n; ++e) sum += std::exp(logits[e] - most);
  }
  for (int64_t r = 0; r < k; ++r) {
    weights[r] = static_cast<float>(std::exp(logits[chosen[r]] - most) / sum);
  }
}

}  // namespace

void MoeConfig::Visit(Fields& f) {
  f.Int("experts", &experts, {1, 1 << 16});
  f.Int("top_k", &top_k, {1, 1 << 16});
  f.Require(top_k <= experts, "\"top_k\" (" + std::to_string(top_k) +
                                  ") is more than there are \"experts\" (" +
                                  std::to_string(experts) + ")");
  f.Int("hidden", &hidden, {1, 1 << 24});
  f.ChoiceOr("activation", &activation, ActivationNames());
  f.BoolOr("normalize", &normalize);
  // The softmax stands before or after the choice. Over the chosen alone it
  // sums to 1 by itself.
  enum class Softmax { kBefore, kAfter } softmax = Softmax::kBefore;
  static constexpr ChoiceName kPlaces[] = {{"before", Softmax::kBefore},
                                           {"after", Softmax::kAfter}};
  f.ChoiceOr("router_softmax", &softmax, kPlaces);
  if (softmax == Softmax::kAfter) normalize = true;
  f.IntOr("shared_hidden", &shared_hidden, {0, 1 << 24});
  constexpr int64_t kMaxNumbers = int64_t{1} << 44;  // in one stack of experts
  f.Require(int64_t{hidden} * dim <= kMaxNumbers / experts,
            "\"experts\" of \"hidden\" by the width have more than 2^44 "
            "numbers");
}

MoeRouting RouteTokens(Context& ctx, const MoeConfig& config,
                       const Tensor& logits) {
  CheckDifferentiable(ctx, logits.device(), CpuOnly("routing", "moe"));
  const Tensor in = logits.Contiguous().To(Cpu());
  const int64_t tokens = in.dim(0), experts = in.dim(1), k = config.top_k;
  CHECK(k > 0 && k <= experts);
  MoeRouting routing;
  routing.experts.resize(tokens * k);
  routing.weights = Tensor::Empty({tokens, k});
  const float* from = in.data<float>();
  float* weights = routing.weights.mutable_data<float>();
  ForRange(ctx.pool, tokens, GrainFor(experts * (k + 10)),
           [&](int64_t begin, int64_t end) {
             for (int64_t t = begin; t < end; ++t) {
               int32_t* chosen = routing.experts.data() + t * k;
               TopK(from + t * experts, experts, k, chosen);
               RoutingWeights(from + t * experts, experts, chosen, k,
                              config.normalize, weights + t * k);
             }
           });
  routing.weights = routing.weights.To(logits.device(), ctx.stream);
  if (ctx.tape != nullptr) {
    moe_internal::RecordRouting(ctx, config, logits, &routing);
  }
  return routing;
}

MoeDispatch DispatchTokens(const MoeConfig& config, const MoeRouting& routing) {
  const size_t rows = routing.experts.size();
  MoeDispatch dispatch;
  dispatch.tokens.resize(rows);
  dispatch.places.resize(rows);
  dispatch.offsets.assign(config.experts + 1, 0);
  for (int32_t e : routing.experts) ++dispatch.offsets[e + 1];
  for (int e = 0; e < config.experts; ++e) {
    dispatch.offsets[e + 1] += dispatch.offsets[e];
  }
  std::vector<int32_t> next(dispatch.offsets.begin(),
                            dispatch.offsets.end() - 1);
  for (size_t i = 0; i < rows; ++i) {
    const int32_t row = next[routing.experts[i]]++;
    dispatch.tokens[row] = static_cast<int32_t>(i) / config.top_k;
    dispatch.places[row] = static_cast<int32_t>(i);
  }
  return dispatch;
}

Tensor ComputeExperts(Context& ctx, const MoeConfig& config, const Tensor& rows,
                      std::span<const int32_t> offsets, const Weight& gate,
                      const Weight& up, const Weight& down) {
  const Weight* const gate_up[] = {&gate, &up};
  const std::vector<Tensor> in = GroupedLinears(ctx, rows, gate_up, offsets);
  const Tensor h = GatedActivation(ctx, config.activation, in[0], in[1]);
  return GroupedLinear(ctx, h, down, offsets);
}

Tensor CombineExperts(Context& ctx, const Tensor& rows,
                      const MoeDispatch& dispatch, const MoeRouting& routing) {
  const int64_t count = static_cast<int64_t>(dispatch.places.size());
  const Tensor flat = ReshapeView(ctx, routing.weights, {count, 1});
  const Tensor sorted = GatherRows(ctx, flat, dispatch.places);
  return CombineRows(ctx, rows, dispatch.tokens,
                     ReshapeView(ctx, sorted, {count}), routing.weights.dim(0));
}

Moe::Moe(const MoeConfig& config) : config_(config) {
  const int64_t d = config.dim, f = config.hidden, e = config.experts;
  const int64_t s = config.shared_hidden;
  router_ = book_.Matrix("router", {e, d});
  gate_ = book_.Matrix("gate", {e, f, d}, {1, 1});
  up_ = book_.Matrix("up", {e, f, d}, {1, 1});
  down_ = book_.Matrix("down", {e, d, f}, {2, 1});
  if (s == 0) return;
  shared_gate_ = book_.Matrix("shared_gate", {s, d}, Rows());
  shared_up_ = book_.Matrix("shared_up", {s, d}, Rows());
  shared_down_ = book_.Matrix("shared_down", {d, s}, Columns());
}

Tensor Moe::Forward(Context& ctx, const Tensor& x) const {
  // Which experts are chosen must not hang on a rounding.
  Context scores = ctx;
  scores.dtype = DType::kF32;
  const MoeRouting routing = RouteTokens(
      ctx, config_, Linear(scores, Cast(ctx, x, DType::kF32), router_));
  const MoeDispatch dispatch = DispatchTokens(config_, routing);
  const Tensor rows = GatherRows(ctx, x, dispatch.tokens);
  const Tensor results =
      ComputeExperts(ctx, config_, rows, dispatch.offsets, ctx.weight(gate_),
                     ctx.weight(up_), ctx.weight(down_));
  const Tensor y = CombineExperts(ctx, results, dispatch, routing);
  if (config_.shared_hidden == 0) return y;
  const auto [gate, up] = Linears(ctx, x, {{shared_gate_}, {shared_up_}});
  const Tensor h = GatedActivation(ctx, config_.activation, gate, up);
  return Add(ctx, y, OutLinear(ctx, h, shared_down_));
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
  };
}

}  // namespace intarsia
