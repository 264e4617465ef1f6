// The equation of README.md in double precision, one token at a time.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "intarsia/channel_mixers/moe/moe.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {
namespace {

// down · (act(gate x) ⊙ up x), matrices row-major.
std::vector<double> Expert(Activation activation, const double* gate,
                           const double* up, const double* down,
                           const double* x, int64_t dim, int64_t hidden) {
  std::vector<double> h(hidden), y(dim);
  for (int64_t f = 0; f < hidden; ++f) {
    double g = 0, u = 0;
    for (int64_t d = 0; d < dim; ++d) {
      g += gate[f * dim + d] * x[d];
      u += up[f * dim + d] * x[d];
    }
    h[f] = ReferenceActivation(activation, g) * u;
  }
  for (int64_t d = 0; d < dim; ++d) {
    for (int64_t f = 0; f < hidden; ++f) y[d] += down[d * hidden + f] * h[f];
  }
  return y;
}

}  // namespace

std::vector<double> Moe::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t dim = config_.dim, hidden = config_.hidden;
  const int64_t experts = config_.experts, k = config_.top_k;
  const reference::Weights w(book_, weights);
  const std::vector<double> logits = w.Linear(x, router_);
  std::vector<double> y(batch.size() * dim);
  for (int64_t t = 0; t < batch.size(); ++t) {
    const double* token = x.data() + t * dim;
    std::vector<double> p(experts);
    for (int64_t e = 0; e < experts; ++e) {
      p[e] = std::exp(logits[t * experts + e]);
    }
    const double all = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) value /= all;

    std::vector<int64_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return p[a] > p[b]; });
    double chosen = 0;
    for (int64_t r = 0; r < k; ++r) chosen += p[order[r]];
    for (int64_t r = 0; r < k; ++r) {
      const int64_t e = order[r], at = e * hidden * dim;
      const double weight = p[e] / (config_.normalize ? chosen : 1.0);
      const std::vector<double> out =
          Expert(config_.activation, &w[gate_][at], &w[up_][at], &w[down_][at],
                 token, dim, hidden);
      for (int64_t d = 0; d < dim; ++d) y[t * dim + d] += weight * out[d];
    }
  }
  if (config_.shared_hidden == 0) return y;
  const std::vector<double> shared =
      w.Linear(reference::Gated(config_.activation, w.Linear(x, shared_gate_),
                                w.Linear(x, shared_up_)),
               shared_down_);
  for (size_t i = 0; i < y.size(); ++i) y[i] += shared[i];
  return y;
}

}  // namespace intarsia
