#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/delta/delta.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;
using By = DeltaConfig::By;

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Each run of `dim` values over its length.
Doubles UnitLength(Doubles x, int64_t dim, double eps) {
  for (size_t row = 0; row < x.size(); row += dim) {
    double square = eps;
    for (int64_t i = 0; i < dim; ++i) square += x[row + i] * x[row + i];
    for (int64_t i = 0; i < dim; ++i) x[row + i] /= std::sqrt(square);
  }
  return x;
}

// [T, H] as [T, H, C], or what has C channels as it is.
Doubles Spread(const Doubles& x, size_t size) {
  Doubles y(size);
  for (size_t i = 0; i < size; ++i) y[i] = x[i / (size / x.size())];
  return y;
}

}  // namespace

std::vector<double> Delta::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const DeltaConfig& c = config_;
  const int64_t H = c.heads, K = c.key_dim, V = c.value_dim;
  const reference::Weights w(book_, weights);
  const auto convolve = [&](Doubles in, LinearHandles conv) {
    if (c.conv_width > 0) {
      return reference::CausalConvolution(batch, c.conv_activation, in,
                                          w[conv.w], w.Find(conv.bias),
                                          book_.shape(conv.w)[0], c.conv_width);
    }
    for (double& value : in) {
      value = ReferenceActivation(c.conv_activation, value);
    }
    return in;
  };
  DeltaRuleReferenceInputs in;
  in.heads = H;
  in.key_dim = K;
  in.value_dim = V;
  in.scale = 1.0 / std::sqrt(double(K));
  in.q =
      RepeatGroups(UnitLength(convolve(w.Linear(x, q_), conv_q_), K, c.qk_eps),
                   c.key_heads, H, K);
  in.k =
      RepeatGroups(UnitLength(convolve(w.Linear(x, k_), conv_k_), K, c.qk_eps),
                   c.key_heads, H, K);
  in.v = convolve(w.Linear(x, v_), conv_v_);

  Doubles beta = w.Linear(x, beta_);
  for (double& value : beta) value = c.beta_scale * Sigmoid(value);
  in.erase = Spread(beta, in.k.size());
  Doubles write = beta;
  if (c.erase == By::kChannel) {
    write = w.Linear(x, write_);
    for (double& value : write) value = Sigmoid(value);
  }
  write = Spread(write, in.v.size());
  for (size_t i = 0; i < in.k.size(); ++i) in.erase[i] *= in.k[i];
  for (size_t i = 0; i < in.v.size(); ++i) in.v[i] *= write[i];

  if (c.decay != By::kNone) {
    Doubles raw = w.Linear(x, decay_);
    if (decay_b_.exists()) raw = w.Linear(raw, decay_b_);
    const size_t channels = c.decay == By::kChannel ? K : 1;
    for (size_t i = 0; i < raw.size(); ++i) {
      const double a = std::exp(w[a_log_][i / channels % H]);
      const double s = raw[i] + w[dt_bias_][i % (H * channels)];
      raw[i] = c.decay_floor < 0 ? c.decay_floor * Sigmoid(a * s)
                                 : -a * std::log1p(std::exp(s));
    }
    in.log_decay = Spread(raw, in.k.size());
  }
  Doubles y = w.Normalize(norm_, DeltaRuleReference(batch, in), V);
  if (c.gate) {
    Doubles gate =
        w.Linear(x, gate_, gate_b_.exists() ? WeightHandle() : gate_bias_);
    if (gate_b_.exists()) gate = w.Linear(gate, gate_b_, gate_bias_);
    y = reference::Gated(*c.gate, gate, y);
  }
  return w.Linear(y, out_);
}

}  // namespace intarsia
