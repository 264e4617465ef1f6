// The equation of README.md in double precision, one query at a time.
#include <cmath>
#include <limits>

#include "intarsia/mixers/attention/attention.h"

namespace intarsia {
namespace {

using Vector = std::vector<double>;

// y[t, n] = Σ_d w[n, d] x[t, d] + b[n].
Vector Project(const Vector& x, const Vector& w, const Vector* bias,
               int64_t tokens, int64_t in, int64_t out) {
  Vector y(tokens * out);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t n = 0; n < out; ++n) {
      double sum = bias ? (*bias)[n] : 0.0;
      for (int64_t d = 0; d < in; ++d) sum += w[n * in + d] * x[t * in + d];
      y[t * out + n] = sum;
    }
  }
  return y;
}

// Of one head's channels, in place.
void Normalise(const NormConfig& config, const Vector* scale,
               const Vector* bias, double* x, int64_t n) {
  if (config.kind == NormConfig::Kind::kNone) return;
  double mean = 0, square = 0;
  if (config.kind == NormConfig::Kind::kLayer) {
    for (int64_t i = 0; i < n; ++i) mean += x[i] / n;
  }
  for (int64_t i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean) / n;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = (x[i] - mean) / std::sqrt(square + config.eps);
    if (scale) x[i] *= (*scale)[i] + (config.unit_offset ? 1.0 : 0.0);
    if (bias) x[i] += (*bias)[i];
  }
}

void Rotate(const RopeConfig& config, const std::vector<float>& frequencies,
            int64_t position, double* x) {
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t first = config.interleaved ? 2 * i : i;
    const int64_t second = config.interleaved ? 2 * i + 1 : i + pairs;
    const double angle = position * double{frequencies[i]};
    const double c = std::cos(angle) * RopeScale(config);
    const double s = std::sin(angle) * RopeScale(config);
    const double a = x[first], b = x[second];
    x[first] = a * c - b * s;
    x[second] = b * c + a * s;
  }
}

bool Sees(const AttentionMask& mask, int64_t query, int64_t key) {
  using Kind = AttentionMask::Kind;
  if (mask.kind == Kind::kPrefix && key < mask.prefix) return true;
  if (mask.kind != Kind::kBidirectional && key > query) return false;
  return mask.window == 0 || std::abs(query - key) < mask.window;
}

}  // namespace

std::vector<double> Attention::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const Layout at = layout();
  const auto weight = [&](int i) { return i < 0 ? nullptr : &weights[i]; };
  const int64_t tokens = batch.size(), dim = config_.dim, k = config_.head_dim;
  const int64_t heads = config_.heads, kv_heads = config_.kv_heads;
  const AttentionCoreConfig& core = config_.core;

  Vector q = Project(x, weights[0], weight(at.q_bias), tokens, dim, heads * k);
  Vector keys =
      Project(x, weights[1], weight(at.k_bias), tokens, dim, kv_heads * k);
  const Vector v =
      Project(x, weights[2], weight(at.v_bias), tokens, dim, kv_heads * k);
  const std::vector<float> frequencies =
      config_.rope.enabled ? RopeFrequencies(config_.rope, config_.head_dim)
                           : std::vector<float>();
  const auto prepare = [&](Vector* rows, int64_t count, int norm) {
    const int bias = norm >= 0 && at.norm_weights > 1 ? norm + 1 : -1;
    for (int64_t r = 0; r < tokens * count; ++r) {
      double* head = rows->data() + r * k;
      Normalise(config_.qk_norm, weight(norm), weight(bias), head, k);
      Rotate(config_.rope, frequencies, batch.positions[r / count], head);
    }
  };
  prepare(&q, heads, at.q_norm);
  prepare(&keys, kv_heads, at.k_norm);

  const double scale = core.scale > 0 ? core.scale : 1.0 / std::sqrt(k);
  const std::vector<int32_t> segment = batch.SegmentIds();
  Vector mixed(tokens * heads * k);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / (heads / kv_heads);
      Vector scores(tokens, -std::numeric_limits<double>::infinity());
      for (int64_t s = 0; s < tokens; ++s) {
        if (segment[s] != segment[t] ||
            !Sees(core.mask, batch.positions[t], batch.positions[s])) {
          continue;
        }
        double dot = 0;
        for (int64_t i = 0; i < k; ++i) {
          dot += q[(t * heads + h) * k + i] * keys[(s * kv_heads + g) * k + i];
        }
        scores[s] = scale * dot;
        if (core.softcap > 0) {
          scores[s] = core.softcap * std::tanh(scores[s] / core.softcap);
        }
      }
      double most = config_.sinks ? weights[at.sinks][h] : scores[t];
      for (double score : scores) most = std::max(most, score);
      double sum = config_.sinks ? std::exp(weights[at.sinks][h] - most) : 0.0;
      for (double score : scores) sum += std::exp(score - most);
      for (int64_t s = 0; s < tokens; ++s) {
        const double p = std::exp(scores[s] - most) / sum;
        for (int64_t i = 0; i < k; ++i) {
          mixed[(t * heads + h) * k + i] += p * v[(s * kv_heads + g) * k + i];
        }
      }
    }
  }
  return Project(mixed, weights[3], weight(at.o_bias), tokens, heads * k, dim);
}

}  // namespace intarsia
