#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/rwkv4/rwkv4.h"

namespace intarsia {

std::vector<double> Rwkv4::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t C = config_.width;
  const reference::Weights w(book_, weights);
  const auto project = [&](WeightHandle share, WeightHandle matrix) {
    return w.Linear(reference::ShiftedMix(batch, x, w[share], config_.dim,
                                          /*of_current=*/true),
                    matrix);
  };
  const std::vector<double> k = project(x_k_, k_), v = project(x_v_, v_);
  std::vector<double> y(k.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t c = 0; c < C; ++c) {
      const double fade = std::exp(-std::exp(w[decay_][c]));
      double a = 0.0, b = 0.0;
      for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
        const double key = k[t * C + c], value = v[t * C + c];
        const double own = std::exp(w[bonus_][c] + key);
        y[t * C + c] = (a + own * value) / (b + own);
        a = fade * a + std::exp(key) * value;
        b = fade * b + std::exp(key);
      }
    }
  }
  return w.Linear(reference::Gated(Activation::kSigmoid, project(x_r_, r_), y),
                  out_);
}

}  // namespace intarsia
