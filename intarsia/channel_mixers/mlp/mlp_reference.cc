#include "intarsia/channel_mixers/mlp/mlp.h"

namespace intarsia {

std::vector<double> Mlp::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t tokens = batch.size(), dim = config_.dim,
                hidden = config_.hidden;
  const std::vector<double>& w_up = weights[0];
  const std::vector<double>& w_down = weights[config_.bias ? 2 : 1];
  std::vector<double> y(tokens * dim);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> h(hidden);
    for (int64_t f = 0; f < hidden; ++f) {
      double up = config_.bias ? weights[1][f] : 0.0;
      for (int64_t d = 0; d < dim; ++d) {
        up += w_up[f * dim + d] * x[t * dim + d];
      }
      h[f] = ReferenceActivation(config_.activation, up);
    }
    for (int64_t d = 0; d < dim; ++d) {
      double sum = config_.bias ? weights[3][d] : 0.0;
      for (int64_t f = 0; f < hidden; ++f) sum += w_down[d * hidden + f] * h[f];
      y[t * dim + d] = sum;
    }
  }
  return y;
}

}  // namespace intarsia
