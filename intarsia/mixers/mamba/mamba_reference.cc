#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/mamba/mamba.h"

namespace intarsia {

std::vector<double> Mamba::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& input) const {
  using Doubles = std::vector<double>;
  const MambaConfig& c = config_;
  const int64_t I = c.inner, N = c.state_dim;
  const reference::Weights w(book_, weights);
  const Doubles in = w.Linear(input, x_.w, x_.bias);
  const Doubles z = w.Linear(input, z_.w, z_.bias);
  const Doubles x =
      reference::CausalConvolution(batch, Activation::kSilu, in, w[conv_.w],
                                   w.Find(conv_.bias), I, c.conv_width);
  const auto low = [&](WeightHandle part, const NormHandle& norm, int64_t dim) {
    return w.Normalize(norm, w.Linear(x, part), dim);
  };
  const Doubles dt = w.Linear(low(x_dt_, dt_norm_, c.dt_rank), dt_proj_);
  const Doubles b = low(x_b_, b_norm_, N), C = low(x_c_, c_norm_, N);
  Doubles y(x.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    Doubles h(I * N, 0.0);
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t i = 0; i < I; ++i) {
        const double u = x[t * I + i];
        const double step =
            std::log1p(std::exp(dt[t * I + i] + w[dt_bias_][i]));
        double sum = w[d_][i] * u;
        for (int64_t s = 0; s < N; ++s) {
          double& state = h[i * N + s];
          state = std::exp(-step * std::exp(w[a_log_][i * N + s])) * state +
                  step * b[t * N + s] * u;
          sum += C[t * N + s] * state;
        }
        y[t * I + i] =
            sum * ReferenceActivation(Activation::kSilu, z[t * I + i]);
      }
    }
  }
  return w.Linear(y, out_.w, out_.bias);
}

}  // namespace intarsia
