// As it is written: keys and values of every head, from the latents.
#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/mla/mla.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

// a [T, H, n] and b [T, H, p], or one head of b for all: [T, H, n + p].
Doubles JoinHeads(const Doubles& a, int64_t n, const Doubles& b, int64_t p,
                  int64_t heads) {
  const size_t rows = a.size() / n;
  const size_t each = b.size() / p == rows ? 1 : heads;
  Doubles y;
  for (size_t i = 0; i < rows; ++i) {
    y.insert(y.end(), a.begin() + i * n, a.begin() + (i + 1) * n);
    const auto from = b.begin() + i / each * p;
    y.insert(y.end(), from, from + p);
  }
  return y;
}

}  // namespace

std::vector<double> Mla::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t H = config_.heads, N = config_.key_dim, P = config_.rope_dim;
  const int64_t V = config_.value_dim;
  const reference::Weights w(book_, weights);
  Doubles from = x;
  if (config_.query_rank > 0) {
    from = w.Normalize(q_norm_, w.Linear(x, q_a_), config_.query_rank);
  }
  Doubles q_rope = w.Linear(from, q_rope_), k_rope = w.Linear(x, k_rope_);
  reference::Rotate(config_.rope, batch.positions, H, P, &q_rope);
  reference::Rotate(config_.rope, batch.positions, 1, P, &k_rope);
  const Doubles c = w.Normalize(kv_norm_, w.Linear(x, kv_a_), config_.rank);
  AttentionCoreConfig core;
  core.scale =
      config_.scale > 0 ? config_.scale : 1.0 / std::sqrt(double(N + P));
  Doubles y = ReferenceAttentionCore(
                  batch, batch, H, H,
                  JoinHeads(w.Linear(from, q_nope_), N, q_rope, P, H),
                  JoinHeads(w.Linear(c, k_up_), N, k_rope, P, H),
                  w.Linear(c, v_up_), core, nullptr)
                  .out;
  if (config_.gate) {
    const Doubles gate = w.Linear(x, gate_);
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] /= 1.0 + std::exp(-gate[i / V]);
    }
  }
  return w.Linear(y, out_);
}

}  // namespace intarsia
