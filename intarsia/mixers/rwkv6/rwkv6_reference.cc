#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/rwkv6/rwkv6.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

Doubles Tanh(Doubles x) {
  for (double& value : x) value = std::tanh(value);
  return x;
}

// Columns [begin, begin + count) of x [T, width].
Doubles Columns(const Doubles& x, int64_t width, int64_t begin, int64_t count) {
  Doubles y;
  for (size_t row = 0; row < x.size(); row += width) {
    y.insert(y.end(), x.begin() + row + begin, x.begin() + row + begin + count);
  }
  return y;
}

}  // namespace

std::vector<double> Rwkv6::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t N = config_.head_dim, D = config_.dim;
  const int64_t rank = config_.mix_rank, width = config_.heads * N;
  const reference::Weights w(book_, weights);
  Doubles low;
  if (rank > 0) {
    low = Tanh(w.Linear(reference::ShiftedMix(batch, x, w[x_x_], D), mix_a_));
  }
  const auto mix = [&](size_t i) {
    if (rank == 0) {
      return reference::ShiftedMix(batch, x, w[share_[i]], D,
                                   config_.of_current);
    }
    // x + (x_{t−1} − x) ⊙ share, a share for each token.
    const Doubles share =
        w.Linear(Columns(low, 5 * rank, i * rank, rank), mix_b_[i], share_[i]);
    Doubles y = reference::ShiftedMix(batch, x, Doubles(D, 1.0), D);
    for (size_t at = 0; at < y.size(); ++at) {
      y[at] = x[at] + share[at] * (y[at] - x[at]);
    }
    return y;
  };
  DeltaRuleReferenceInputs in;
  in.heads = config_.heads;
  in.key_dim = in.value_dim = N;
  in.before = true;
  in.q = w.Linear(mix(0), r_);
  in.k = w.Linear(mix(2), k_);
  in.v = w.Linear(mix(3), v_);
  in.log_decay.resize(in.k.size());
  Doubles change;
  if (config_.decay_rank > 0) {
    change = w.Linear(Tanh(w.Linear(mix(1), decay_a_)), decay_b_);
  }
  for (size_t i = 0; i < in.k.size(); ++i) {
    in.log_decay[i] =
        -std::exp(w[decay_][i % width] + (change.empty() ? 0.0 : change[i]));
  }
  Doubles y = DeltaRuleReference(batch, in);
  for (size_t row = 0; row < y.size(); row += N) {
    double bonus = 0.0;
    for (int64_t i = 0; i < N; ++i) {
      bonus += in.q[row + i] * in.k[row + i] * w[bonus_][(row + i) % width];
    }
    for (int64_t i = 0; i < N; ++i) y[row + i] += bonus * in.v[row + i];
  }
  NormConfig norm;
  norm.kind = NormConfig::Kind::kLayer;
  norm.eps = config_.norm_eps;
  y = reference::Normalize(norm, y, N, &w[norm_], &w[norm_bias_]);
  return w.Linear(reference::Gated(Activation::kSilu, w.Linear(mix(4), g_), y),
                  out_);
}

}  // namespace intarsia
