// Which experts a token goes to, and with which weights. On the CPU: the
// choice decides how large the products are, so it has to be there.
#include <algorithm>
#include <cmath>
#include <limits>

#include "intarsia/channel_mixers/moe/moe.h"
#include "intarsia/ops/common/rows.h"

namespace intarsia {
namespace {

// The k largest of n keys, best first; of equals the lower index. A NaN is
// neither larger nor smaller, so it can only take the place it stands at.
template <typename T>
void TopK(const T* keys, int64_t n, int64_t k, int32_t* chosen) {
  std::vector<bool> taken(n, false);
  for (int64_t rank = 0; rank < k; ++rank) {
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      if (taken[e]) continue;
      if (best < 0 || keys[e] > keys[best]) best = e;
    }
    chosen[rank] = best;
    taken[best] = true;
  }
}

// The keys of experts outside the best groups become -infinity.
void KeepGroups(const MoeConfig& config, std::vector<double>* keys) {
  const int64_t size = static_cast<int64_t>(keys->size()) / config.groups;
  const bool two = config.group_score == GroupScore::kTopTwo && size > 1;
  std::vector<double> groups(config.groups);
  for (int g = 0; g < config.groups; ++g) {
    const double* from = keys->data() + g * size;
    int32_t best[2];
    TopK(from, size, two ? 2 : 1, best);
    groups[g] = from[best[0]] + (two ? from[best[1]] : 0.0);
  }
  std::vector<int32_t> kept(config.top_groups);
  TopK(groups.data(), config.groups, config.top_groups, kept.data());
  for (int g = 0; g < config.groups; ++g) {
    if (std::find(kept.begin(), kept.end(), g) != kept.end()) continue;
    std::fill_n(keys->begin() + g * size, size,
                -std::numeric_limits<double>::infinity());
  }
}

void RouteToken(const MoeConfig& config, const float* logits, int64_t n,
                const float* bias, int32_t* chosen, float* weights) {
  const int64_t k = config.top_k;
  std::vector<double> scores(n);
  if (config.sparse_mixer > 0) {
    TopK(logits, n, k, chosen);
    for (int64_t r = 0; r < k; ++r) {
      moe_internal::SparseMixer(config, logits, n, chosen, r, scores.data());
      weights[r] = static_cast<float>(scores[chosen[r]] * config.routed_scale);
    }
    return;
  }
  moe_internal::Scores(config, logits, n, scores.data());
  if (bias == nullptr && config.groups == 1) {
    TopK(logits, n, k, chosen);  // every score grows with its logit
  } else {
    std::vector<double> keys = scores;
    for (int64_t e = 0; bias != nullptr && e < n; ++e) keys[e] += bias[e];
    if (config.groups > 1) KeepGroups(config, &keys);
    TopK(keys.data(), n, k, chosen);
  }
  double sum = 1.0;
  if (config.normalize) {
    sum = config.normalize_eps;
    for (int64_t r = 0; r < k; ++r) sum += scores[chosen[r]];
  }
  for (int64_t r = 0; r < k; ++r) {
    // Scores that are all 0 share alike, rather than divide 0 by 0.
    const double part =
        sum == 0.0 ? 1.0 / static_cast<double>(k) : scores[chosen[r]] / sum;
    weights[r] = static_cast<float>(config.routed_scale * part);
  }
}

}  // namespace

void moe_internal::Scores(const MoeConfig& config, const float* logits,
                          int64_t n, double* scores) {
  if (config.score == RouterScore::kSoftmax) {
    const double most = *std::max_element(logits, logits + n);
    double sum = 0;
    for (int64_t e = 0; e < n; ++e) {
      scores[e] = std::exp(double{logits[e]} - most);
      sum += scores[e];
    }
    for (int64_t e = 0; e < n; ++e) scores[e] /= sum;
    return;
  }
  for (int64_t e = 0; e < n; ++e) {
    const double x = logits[e];
    scores[e] =
        config.score == RouterScore::kSigmoid
            ? 1.0 / (1.0 + std::exp(-x))
            : std::sqrt(std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))));
  }
}

void moe_internal::SparseMixer(const MoeConfig& config, const float* logits,
                               int64_t n, const int32_t* chosen, int64_t r,
                               double* p) {
  const double best = logits[chosen[r]];
  double sum = 0;
  for (int64_t e = 0; e < n; ++e) {
    const double x = logits[e];
    const bool taken = std::find(chosen, chosen + r, e) != chosen + r;
    const double distance = (best - x) / std::max(std::abs(x), best);
    p[e] = taken || distance > 2.0 * config.sparse_mixer ? 0.0
                                                         : std::exp(x - best);
    sum += p[e];
  }
  for (int64_t e = 0; e < n; ++e) p[e] /= sum;
}

MoeRouting RouteTokens(Context& ctx, const MoeConfig& config,
                       const Tensor& logits, const Weight* select_bias) {
  const Tensor in = logits.Contiguous().To(Cpu());
  const int64_t tokens = in.dim(0), n = in.dim(1), k = config.top_k;
  CHECK(k > 0 && k <= n);
  Tensor bias;
  if (select_bias != nullptr) bias = select_bias->values().To(Cpu());
  MoeRouting routing;
  routing.experts.resize(tokens * k);
  routing.weights = Tensor::Empty({tokens, k});
  const float* from = in.data<float>();
  const float* added = bias.defined() ? bias.data<float>() : nullptr;
  float* weights = routing.weights.mutable_data<float>();
  ForRange(ctx.pool, tokens, GrainFor(n * (k + 20)),
           [&](int64_t begin, int64_t end) {
             for (int64_t t = begin; t < end; ++t) {
               RouteToken(config, from + t * n, n, added,
                          routing.experts.data() + t * k, weights + t * k);
             }
           });
  routing.weights = routing.weights.To(logits.device(), ctx.stream);
  if (ctx.tape != nullptr) {
    moe_internal::RecordRouting(ctx, config, logits, select_bias, &routing);
  }
  return routing;
}

MoeDispatch DispatchTokens(const MoeConfig& config, const MoeRouting& routing) {
  const size_t rows = routing.experts.size();
  CHECK_LE(rows, size_t{1} << 30);
  MoeDispatch dispatch;
  dispatch.tokens.resize(rows);
  dispatch.places.resize(rows);
  dispatch.offsets.assign(config.choices() + 1, 0);
  for (int32_t e : routing.experts) ++dispatch.offsets[e + 1];
  for (int e = 0; e < config.choices(); ++e) {
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

}  // namespace intarsia
