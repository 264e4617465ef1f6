#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/rwkv7/rwkv7.h"

namespace intarsia {
namespace {

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

Doubles Apply(Doubles x, double (*fn)(double)) {
  for (double& value : x) value = fn(value);
  return x;
}

}  // namespace

Doubles Rwkv7::ReferenceWith(const Batch& batch,
                             const std::vector<Doubles>& weights,
                             const Doubles& x,
                             ReferenceStreams* streams) const {
  const int64_t N = config_.head_dim, D = config_.dim;
  const int64_t width = config_.heads * N;
  const reference::Weights w(book_, weights);
  const auto mix = [&](size_t i) {
    return reference::ShiftedMix(batch, x, w[mix_[i]], D);
  };
  const auto low = [&](const LowRank& of, const Doubles& in,
                       double (*inner)(double)) {
    Doubles h = w.Linear(in, of.a);
    if (inner != nullptr) h = Apply(h, inner);
    return w.Linear(h, of.b, of.bias);
  };
  const auto tanh = [](double value) { return std::tanh(value); };
  const Doubles k = w.Linear(mix(2), k_), xv = mix(3);
  Doubles v = w.Linear(xv, v_);
  const Doubles decay = Apply(low(decay_, mix(1), tanh), Sigmoid);
  const Doubles rate = Apply(low(rate_, mix(4), nullptr), Sigmoid);
  const Doubles gate = low(gate_, mix(5), Sigmoid);
  if (config_.values == Rwkv7Config::Values::kFirst) (*streams)["v_first"] = v;
  if (config_.values == Rwkv7Config::Values::kLater) {
    const Doubles& first = streams->at("v_first");
    const Doubles share = Apply(low(value_, xv, nullptr), Sigmoid);
    for (size_t i = 0; i < v.size(); ++i) v[i] += (first[i] - v[i]) * share[i];
  }

  DeltaRuleReferenceInputs in;
  in.heads = config_.heads;
  in.key_dim = in.value_dim = N;
  in.erase_before = true;
  in.q = w.Linear(mix(0), r_);
  in.k = in.erase = in.removal = in.log_decay = k;
  in.v = v;
  for (size_t row = 0; row < k.size(); row += N) {
    double square = 1e-24;
    for (int64_t i = 0; i < N; ++i) {
      const double removed = k[row + i] * w[k_k_][(row + i) % width];
      in.erase[row + i] = removed;
      square += removed * removed;
    }
    for (int64_t i = 0; i < N; ++i) {
      const size_t at = row + i;
      in.erase[at] /= std::sqrt(square);
      in.removal[at] = in.erase[at] * rate[at];
      in.k[at] = k[at] * (1 + (rate[at] - 1) * w[k_a_][at % width]);
      in.log_decay[at] = -std::exp(-0.5) * decay[at];
    }
  }
  NormConfig norm;
  norm.kind = NormConfig::Kind::kLayer;
  norm.eps = config_.norm_eps;
  Doubles y = reference::Normalize(norm, DeltaRuleReference(batch, in), N,
                                   &w[norm_], &w[norm_bias_]);
  for (size_t row = 0; row < y.size(); row += N) {
    double bonus = 0.0;
    for (int64_t i = 0; i < N; ++i) {
      bonus += in.q[row + i] * in.k[row + i] * w[r_k_][(row + i) % width];
    }
    for (int64_t i = 0; i < N; ++i) {
      y[row + i] = (y[row + i] + bonus * v[row + i]) * gate[row + i];
    }
  }
  return w.Linear(y, out_);
}

}  // namespace intarsia
