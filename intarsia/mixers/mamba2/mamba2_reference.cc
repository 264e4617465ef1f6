#include <algorithm>
#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

double Silu(double x) { return x / (1.0 + std::exp(-x)); }

}  // namespace

std::vector<double> Mamba2::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const Mamba2Config& c = config_;
  const int64_t H = c.heads, P = c.head_dim, N = c.state_dim;
  const reference::Weights w(book_, weights);
  auto project = [&](LinearHandles in, size_t place) {
    Doubles y = w.Linear(x, in.w, in.bias);
    for (double& value : y) value *= c.in_multipliers[place];
    return y;
  };
  auto convolve = [&](const Doubles& in, LinearHandles conv) {
    return reference::CausalConvolution(batch, c.conv_activation, in, w[conv.w],
                                        w.Find(conv.bias),
                                        book_.shape(conv.w)[0], c.conv_width);
  };
  const Doubles z = project(z_, 0), raw = project(dt_, 4);
  const Doubles u = convolve(project(x_, 1), conv_x_);
  const Doubles b = convolve(project(b_, 2), conv_b_);
  const Doubles q = convolve(project(c_, 3), conv_c_);

  Doubles decay(raw.size()), value(u.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    const int64_t h = i % H;
    const double step =
        std::clamp(std::log1p(std::exp(raw[i] + w[dt_bias_][h])),
                   double{c.dt_min}, double{c.dt_max});
    decay[i] = -std::exp(w[a_log_][h]) * step;
    for (int64_t p = 0; p < P; ++p) value[i * P + p] = step * u[i * P + p];
  }
  GatedLinearDims dims;
  dims.heads = H;
  dims.groups = c.groups;
  dims.key_dim = N;
  dims.value_dim = P;
  Doubles y =
      GatedLinearReference(batch, dims, 1.0, q, b, value, decay, nullptr);
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] += w[d_][i / P % H] * u[i];
    if (!c.norm || !c.norm_before_gate) y[i] *= Silu(z[i]);
  }
  if (!c.norm) return w.Linear(y, out_.w, out_.bias);
  NormConfig norm;
  norm.eps = c.norm_eps;
  y = reference::Normalize(norm, y, H * P / c.norm_groups, &w[norm_], nullptr);
  for (size_t i = 0; i < y.size() && c.norm_before_gate; ++i) {
    y[i] *= Silu(z[i]);
  }
  return w.Linear(y, out_.w, out_.bias);
}

}  // namespace intarsia
