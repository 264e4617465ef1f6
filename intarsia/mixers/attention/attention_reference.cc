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

AttentionReference ReferenceAttentionCore(
    const Batch& queries, const Batch& keys, int64_t heads, int64_t kv_heads,
    const std::vector<double>& q, const std::vector<double>& k,
    const std::vector<double>& v, const AttentionCoreConfig& config,
    const std::vector<double>* sinks) {
  const int64_t key_dim = k.size() / (keys.size() * kv_heads);
  const int64_t value_dim = v.size() / (keys.size() * kv_heads);
  const double scale =
      config.scale > 0 ? config.scale : 1.0 / std::sqrt(key_dim);
  const double none = -std::numeric_limits<double>::infinity();
  const std::vector<int32_t> query_segment = queries.SegmentIds();
  const std::vector<int32_t> key_segment = keys.SegmentIds();
  AttentionReference result;
  result.out.resize(queries.size() * heads * value_dim);
  result.lse.resize(queries.size() * heads);
  for (int64_t t = 0; t < queries.size(); ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t row = t * heads + h, g = h / (heads / kv_heads);
      Vector scores(keys.size(), none);
      for (int64_t s = 0; s < keys.size(); ++s) {
        if (key_segment[s] != query_segment[t] ||
            !Sees(config.mask, queries.positions[t], keys.positions[s])) {
          continue;
        }
        double dot = 0;
        for (int64_t i = 0; i < key_dim; ++i) {
          dot += q[row * key_dim + i] * k[(s * kv_heads + g) * key_dim + i];
        }
        scores[s] = scale * dot;
        if (config.softcap > 0) {
          scores[s] = config.softcap * std::tanh(scores[s] / config.softcap);
        }
      }
      double most = sinks ? (*sinks)[h] : none;
      for (double score : scores) most = std::max(most, score);
      result.lse[row] = none;
      if (most == none) continue;
      double sum = sinks ? std::exp((*sinks)[h] - most) : 0.0;
      for (double score : scores) sum += std::exp(score - most);
      result.lse[row] = most + std::log(sum);
      for (int64_t s = 0; s < keys.size(); ++s) {
        const double p = std::exp(scores[s] - most) / sum;
        for (int64_t i = 0; i < value_dim; ++i) {
          result.out[row * value_dim + i] +=
              p * v[(s * kv_heads + g) * value_dim + i];
        }
      }
    }
  }
  return result;
}

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
  std::vector<std::vector<float>> frequencies(batch.segments());
  for (int64_t n = 0; config_.rope.enabled && n < batch.segments(); ++n) {
    frequencies[n] = RopeFrequencies(config_.rope, config_.head_dim,
                                     batch.sequence_length(n));
  }
  const std::vector<int32_t> segments = batch.SegmentIds();
  const auto prepare = [&](Vector* rows, int64_t count, int norm) {
    const int bias = norm >= 0 && at.norm_weights > 1 ? norm + 1 : -1;
    const int64_t width = config_.qk_norm_all ? count * k : k;
    for (size_t r = 0; r < rows->size(); r += width) {
      Normalise(config_.qk_norm, weight(norm), weight(bias), rows->data() + r,
                width);
    }
    for (int64_t r = 0; r < tokens * count; ++r) {
      double* head = rows->data() + r * k;
      Rotate(config_.rope, frequencies[segments[r / count]],
             batch.positions[r / count], head);
    }
  };
  prepare(&q, heads, at.q_norm);
  prepare(&keys, kv_heads, at.k_norm);

  const AttentionReference mixed = ReferenceAttentionCore(
      batch, batch, heads, kv_heads, q, keys, v, core, weight(at.sinks));
  return Project(mixed.out, weights[3], weight(at.o_bias), tokens, heads * k,
                 config_.out_dim);
}

}  // namespace intarsia
