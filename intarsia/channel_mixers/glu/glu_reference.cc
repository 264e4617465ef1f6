#include "intarsia/channel_mixers/glu/glu.h"

namespace intarsia {

std::vector<double> Glu::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t tokens = batch.size(), dim = config_.dim,
                hidden = config_.hidden;
  const auto bias = [&](size_t i, int64_t n) {
    return config_.bias ? weights[3 + i][n] : 0.0;
  };
  std::vector<double> y(tokens * dim);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> h(hidden);
    for (int64_t f = 0; f < hidden; ++f) {
      double gate = bias(0, f), up = bias(1, f);
      for (int64_t d = 0; d < dim; ++d) {
        gate += weights[0][f * dim + d] * x[t * dim + d];
        up += weights[1][f * dim + d] * x[t * dim + d];
      }
      h[f] = ReferenceActivation(config_.activation, gate) * up;
    }
    for (int64_t d = 0; d < dim; ++d) {
      double sum = bias(2, d);
      for (int64_t f = 0; f < hidden; ++f) {
        sum += weights[2][d * hidden + f] * h[f];
      }
      y[t * dim + d] = sum;
    }
  }
  return y;
}

}  // namespace intarsia
