// Projections, norms and rotations in double by plain loops, for the Reference
// of mixers. All arrays are row-major.
#pragma once

#include <cmath>
#include <vector>

#include "intarsia/mixers/common/weight_book.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia::reference {

using Doubles = std::vector<double>;

// x [T, K] · w [N, K]ᵀ + bias [N] (null for none) → [T, N].
inline Doubles Linear(const Doubles& x, const Doubles& w, const Doubles* bias,
                      int64_t n, int64_t k) {
  const int64_t rows = static_cast<int64_t>(x.size()) / k;
  Doubles y(rows * n, 0.0);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t i = 0; i < n; ++i) {
      double sum = bias != nullptr ? (*bias)[i] : 0.0;
      for (int64_t j = 0; j < k; ++j) sum += x[t * k + j] * w[i * k + j];
      y[t * n + i] = sum;
    }
  }
  return y;
}

// Normalises each run of `dim` values. Value i of x takes entry i mod
// scale.size() of scale and bias; null for none.
inline Doubles Normalize(const NormConfig& config, const Doubles& x,
                         int64_t dim, const Doubles* scale,
                         const Doubles* bias) {
  if (config.kind == NormConfig::Kind::kNone) return x;
  Doubles y(x.size());
  for (size_t row = 0; row < x.size(); row += dim) {
    double mean = 0.0, square = 0.0;
    if (config.kind == NormConfig::Kind::kLayer) {
      for (int64_t i = 0; i < dim; ++i) mean += x[row + i] / dim;
    }
    for (int64_t i = 0; i < dim; ++i) {
      square += (x[row + i] - mean) * (x[row + i] - mean) / dim;
    }
    for (int64_t i = 0; i < dim; ++i) {
      double value = (x[row + i] - mean) / std::sqrt(square + config.eps);
      if (scale != nullptr) {
        value *= (*scale)[(row + i) % scale->size()] +
                 (config.unit_offset ? 1.0 : 0.0);
      }
      if (bias != nullptr) value += (*bias)[(row + i) % bias->size()];
      y[row + i] = value;
    }
  }
  return y;
}

// y_t = act(bias + Σ_j w[:, W−1−j] x_{t−j}) within each segment; x [T, C], w
// [C, W], bias [C] or null.
inline Doubles CausalConvolution(const Batch& batch, Activation act,
                                 const Doubles& x, const Doubles& w,
                                 const Doubles* bias, int64_t channels,
                                 int64_t width) {
  Doubles y(x.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = bias != nullptr ? (*bias)[c] : 0.0;
        for (int64_t j = 0; j < width && t - j >= batch.begin(n); ++j) {
          sum += w[c * width + width - 1 - j] * x[(t - j) * channels + c];
        }
        y[t * channels + c] = ReferenceActivation(act, sum);
      }
    }
  }
  return y;
}

// A token and the one before it in its segment (0 before the first) in shares
// by channel: x_t + μ (x_{t−1} − x_t), or of_current: μ x_t + (1 − μ) x_{t−1}.
inline Doubles ShiftedMix(const Batch& batch, const Doubles& x,
                          const Doubles& share, int64_t dim,
                          bool of_current = false) {
  Doubles y(x.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t c = 0; c < dim; ++c) {
        const double before = t > batch.begin(n) ? x[(t - 1) * dim + c] : 0.0;
        const double mu = of_current ? 1.0 - share[c] : share[c];
        y[t * dim + c] = x[t * dim + c] + mu * (before - x[t * dim + c]);
      }
    }
  }
  return y;
}

// A mixer's weights by their handles. `values` are those that
// Mixer::Reference gets.
class Weights {
 public:
  Weights(const WeightBook& book, const std::vector<Doubles>& values)
      : book_(book), values_(values) {}

  const Doubles& operator[](WeightHandle h) const { return values_.at(h); }
  // Null for a handle of none.
  const Doubles* Find(WeightHandle h) const {
    return h.exists() ? &values_.at(h) : nullptr;
  }

  // As above, with the shapes of the book.
  Doubles Linear(const Doubles& x, WeightHandle w,
                 WeightHandle bias = {}) const {
    const Shape& shape = book_.shape(w);
    return reference::Linear(x, values_.at(w), Find(bias), shape[0], shape[1]);
  }
  Doubles Normalize(const NormHandle& norm, const Doubles& x,
                    int64_t dim) const {
    return reference::Normalize(norm.config, x, dim, Find(norm.scale),
                                Find(norm.bias));
  }

 private:
  const WeightBook& book_;
  const std::vector<Doubles>& values_;
};

// act(gate) ⊙ up, as long as each other.
inline Doubles Gated(Activation kind, const Doubles& gate, Doubles up) {
  for (size_t i = 0; i < up.size(); ++i) {
    up[i] *= ReferenceActivation(kind, gate[i]);
  }
  return up;
}

// Rotates rows [begin, end) of x [T, H, head_dim] in place by the angles of
// their positions, in a sequence of `length` tokens.
inline void Rotate(const RopeConfig& config,
                   const std::vector<int32_t>& positions, int64_t begin,
                   int64_t end, int64_t length, int64_t heads, int64_t head_dim,
                   Doubles* x) {
  if (!config.enabled) return;
  const std::vector<float> frequencies =
      RopeFrequencies(config, static_cast<int>(head_dim), length);
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  const double scale = RopeScale(config);
  for (int64_t row = begin * heads; row < end * heads; ++row) {
    const double position = positions[row / heads];
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = position * frequencies[i];
      const int64_t first = config.interleaved ? 2 * i : i;
      const int64_t second = config.interleaved ? 2 * i + 1 : i + pairs;
      double& a = (*x)[row * head_dim + first];
      double& b = (*x)[row * head_dim + second];
      const double a0 = a, b0 = b;
      a = scale * (a0 * std::cos(angle) - b0 * std::sin(angle));
      b = scale * (b0 * std::cos(angle) + a0 * std::sin(angle));
    }
  }
}
inline void Rotate(const RopeConfig& config,
                   const std::vector<int32_t>& positions, int64_t heads,
                   int64_t head_dim, Doubles* x) {
  Rotate(config, positions, 0, static_cast<int64_t>(positions.size()), 0, heads,
         head_dim, x);
}

}  // namespace intarsia::reference
