#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/rg_lru/rg_lru.h"

namespace intarsia {

std::vector<double> RgLru::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& input) const {
  using Doubles = std::vector<double>;
  const RgLruConfig& c = config_;
  const int64_t I = c.inner, B = c.inner / c.heads;
  const reference::Weights w(book_, weights);
  const Doubles x = reference::CausalConvolution(
      batch, Activation::kNone, w.Linear(input, x_.w, x_.bias), w[conv_.w],
      w.Find(conv_.bias), I, c.conv_width);
  // σ of channel i's row of its head's block.
  const auto gate = [&](WeightHandle matrix, WeightHandle bias, int64_t t,
                        int64_t i) {
    double sum = w[bias][i];
    for (int64_t j = 0; j < B; ++j) {
      sum += w[matrix][i * B + j] * x[t * I + i / B * B + j];
    }
    return 1 / (1 + std::exp(-sum));
  };
  Doubles y(x.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    Doubles h(I, 0.0);
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t i = 0; i < I; ++i) {
        const double fade =
            -8 * gate(r_, r_bias_, t, i) * std::log1p(std::exp(w[param_][i]));
        const double keep =
            batch.positions[t] == 0 ? 1.0 : std::sqrt(-std::expm1(2 * fade));
        h[i] = std::exp(fade) * h[i] +
               keep * gate(g_, g_bias_, t, i) * x[t * I + i];
        y[t * I + i] = h[i];
      }
    }
  }
  y = reference::Gated(c.activation, w.Linear(input, y_.w, y_.bias), y);
  return w.Linear(y, out_.w, out_.bias);
}

}  // namespace intarsia
