#include <cmath>

#include "intarsia/mixers/attention/attention.h"
#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/diff_attention/diff_attention.h"

namespace intarsia {

// Head h of the H heads reads key head h · G / H, and value heads p and
// p + G/2, p that number in its half.
std::vector<double> DiffAttention::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  using Doubles = reference::Doubles;
  const DiffAttentionConfig& c = config_;
  const reference::Weights w(book_, weights);
  const int64_t T = batch.size(), K = c.head_dim, G = c.kv_heads;
  Doubles q = w.Linear(x, q_, q_bias_), k = w.Linear(x, k_, k_bias_);
  const Doubles v = w.Linear(x, v_, v_bias_);
  reference::Rotate(c.rope, batch.positions, c.heads, K, &q);
  reference::Rotate(c.rope, batch.positions, G, K, &k);
  Doubles wide(T * G * 2 * K);  // of every key head, the pair's values
  for (int64_t i = 0; i < T * G * 2 * K; ++i) {
    const int64_t t = i / (G * 2 * K), g = i / (2 * K) % G, n = i % (2 * K);
    const int64_t head = g % (G / 2) + (n < K ? 0 : G / 2);
    wide[i] = v[(t * G + head) * K + n % K];
  }
  const Doubles o =
      ReferenceAttentionCore(batch, batch, c.heads, G, q, k, wide, {}, nullptr)
          .out;
  double dots[2] = {0, 0};
  for (int64_t i = 0; i < K; ++i) {
    dots[0] += w[lambda_[0]][i] * w[lambda_[1]][i];
    dots[1] += w[lambda_[2]][i] * w[lambda_[3]][i];
  }
  const double lambda = std::exp(dots[0]) - std::exp(dots[1]) + c.lambda_init;
  const int64_t half = c.heads / 2 * 2 * K;  // of a token
  Doubles y(T * half);
  for (int64_t i = 0; i < T * half; ++i) {
    const double* row = o.data() + i / half * 2 * half;
    y[i] = row[i % half] - lambda * row[half + i % half];
  }
  y = reference::Normalize({.eps = c.eps}, y, 2 * K, nullptr, nullptr);
  for (double& value : y) value *= 1 - c.lambda_init;
  return w.Linear(y, o_, o_bias_);
}

}  // namespace intarsia
