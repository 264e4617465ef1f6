#include <algorithm>
#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

double Silu(double x) { return x / (1.0 + std::exp(-x)); }

// y_t = silu(bias + Σ_j w[:, W−1−j] x_{t−j}) within each segment.
Doubles CausalConvolution(const Batch& batch, const Doubles& x,
                          const Doubles& w, const Doubles* bias,
                          int64_t channels, int64_t width) {
  Doubles y(x.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = bias != nullptr ? (*bias)[c] : 0.0;
        for (int64_t j = 0; j < width && t - j >= batch.begin(n); ++j) {
          sum += w[c * width + width - 1 - j] * x[(t - j) * channels + c];
        }
        y[t * channels + c] = Silu(sum);
      }
    }
  }
  return y;
}

}  // namespace

std::vector<double> Mamba2::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const Mamba2Config& c = config_;
  const int64_t H = c.heads, P = c.head_dim, G = c.groups, N = c.state_dim;
  const int64_t inner = H * P, shared = G * N;
  auto optional = [&](int place) {
    return place < 0 ? nullptr : &weights[place];
  };
  auto project = [&](int weight, int bias, int64_t rows) {
    return reference::Linear(x, weights[weight], optional(bias), rows, c.dim);
  };
  auto convolve = [&](const Doubles& in, int weight, int bias, int64_t rows) {
    return CausalConvolution(batch, in, weights[weight], optional(bias), rows,
                             c.conv_width);
  };
  const Doubles z = project(at_.z, at_.z_bias, inner);
  const Doubles u = convolve(project(at_.x, at_.x_bias, inner), at_.conv_x,
                             at_.conv_x_bias, inner);
  const Doubles b = convolve(project(at_.b, at_.b_bias, shared), at_.conv_b,
                             at_.conv_b_bias, shared);
  const Doubles q = convolve(project(at_.c, at_.c_bias, shared), at_.conv_c,
                             at_.conv_c_bias, shared);
  const Doubles raw = project(at_.dt, at_.in_dt_bias, H);

  Doubles decay(raw.size()), value(u.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    const int64_t h = i % H;
    const double step =
        std::clamp(std::log1p(std::exp(raw[i] + weights[at_.dt_bias][h])),
                   double{c.dt_min}, double{c.dt_max});
    decay[i] = -std::exp(weights[at_.a_log][h]) * step;
    for (int64_t p = 0; p < P; ++p) value[i * P + p] = step * u[i * P + p];
  }
  GatedLinearDims dims;
  dims.heads = H;
  dims.groups = G;
  dims.key_dim = N;
  dims.value_dim = P;
  Doubles y =
      GatedLinearReference(batch, dims, 1.0, q, b, value, decay, nullptr);
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] += weights[at_.d][i / P % H] * u[i];
    if (!c.norm_before_gate) y[i] *= Silu(z[i]);
  }
  NormConfig norm;
  norm.eps = c.norm_eps;
  y = reference::Normalize(norm, y, inner / c.norm_groups, &weights[at_.norm],
                           nullptr);
  for (size_t i = 0; i < y.size() && c.norm_before_gate; ++i)
    y[i] *= Silu(z[i]);
  return reference::Linear(y, weights[at_.out], optional(at_.out_bias), c.dim,
                           inner);
}

}  // namespace intarsia
