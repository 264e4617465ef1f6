#include <algorithm>
#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/xlstm/xlstm.h"

namespace intarsia {

std::vector<double> Xlstm::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  using Doubles = std::vector<double>;
  const XlstmConfig& c = config_;
  const int64_t H = c.heads, K = c.key_dim, V = c.value_dim;
  const reference::Weights w(book_, weights);
  const auto gate = [&](const LinearHandles& in) {
    Doubles y = w.Linear(x, in.w, in.bias);
    for (double& g : y) g = c.gate_softcap * std::tanh(g / c.gate_softcap);
    return y;
  };
  const Doubles q = w.Linear(x, q_), k = w.Linear(x, k_), v = w.Linear(x, v_);
  const Doubles i = gate(i_), f = gate(f_);
  Doubles y(batch.size() * H * V);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t h = 0; h < H; ++h) {
      Doubles C(K * V, 0.0), ones(K, 0.0);
      double m = 0;
      for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
        const int64_t at = t * H + h;
        const double fade = -std::log1p(std::exp(-f[at]));
        m = std::max(fade + m, i[at]);
        double below = 0;
        Doubles sum(V, 0.0);
        for (int64_t a = 0; a < K; ++a) {
          const double key = std::exp(i[at]) * k[at * K + a];
          const double query = q[at * K + a] / std::sqrt(double(K));
          ones[a] = std::exp(fade) * ones[a] + key;
          below += query * ones[a];
          for (int64_t b = 0; b < V; ++b) {
            double& state = C[a * V + b];
            state = std::exp(fade) * state + key * v[at * V + b];
            sum[b] += query * state;
          }
        }
        below = std::max(std::abs(below), 1.0) + c.eps * std::exp(m);
        for (int64_t b = 0; b < V; ++b) y[at * V + b] = sum[b] / below;
      }
    }
  }
  NormConfig norm;
  norm.kind = NormConfig::Kind::kLayer;
  norm.eps = c.norm_eps;
  y = reference::Normalize(norm, y, V, &w[norm_], nullptr);
  return w.Linear(reference::Gated(Activation::kSigmoid, w.Linear(x, o_), y),
                  out_);
}

}  // namespace intarsia
