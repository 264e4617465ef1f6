// The equation of README.md in double precision, one query at a time.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "intarsia/mixers/attention/attention.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {
namespace {

using Vector = std::vector<double>;

bool Sees(const AttentionMask& mask, int64_t query, int64_t key) {
  using Kind = AttentionMask::Kind;
  if (mask.kind == Kind::kPrefix && key < mask.prefix) return true;
  if (mask.kind != Kind::kBidirectional && key > query) return false;
  if (mask.chunk > 0 && key / mask.chunk != query / mask.chunk) return false;
  return mask.window == 0 || std::abs(query - key) < mask.window;
}

// Of the keys with a score leaves those of the `keep` largest biases.
void KeepLargest(const Vector& bias, int64_t g, int64_t kv_heads, int64_t keep,
                 Vector* scores) {
  const double none = -std::numeric_limits<double>::infinity();
  Vector seen;
  for (size_t s = 0; s < scores->size(); ++s) {
    if ((*scores)[s] != none) seen.push_back(bias[s * kv_heads + g]);
  }
  if (static_cast<int64_t>(seen.size()) <= keep) return;
  std::ranges::sort(seen, std::greater<>());
  for (size_t s = 0; s < scores->size(); ++s) {
    if (bias[s * kv_heads + g] < seen[keep - 1]) (*scores)[s] = none;
  }
}

}  // namespace

AttentionReference ReferenceAttentionCore(
    const Batch& queries, const Batch& keys, int64_t heads, int64_t kv_heads,
    const std::vector<double>& q, const std::vector<double>& k,
    const std::vector<double>& v, const AttentionCoreConfig& config,
    const std::vector<double>* sinks, const std::vector<double>* bias) {
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
        if (!config.slopes.empty()) {
          scores[s] += double{config.slopes[h]} *
                       (keys.positions[s] - queries.positions[t]);
        }
        if (bias != nullptr) scores[s] += (*bias)[s * kv_heads + g];
      }
      if (config.keep > 0) {
        KeepLargest(*bias, g, kv_heads, config.keep, &scores);
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
  const AttentionConfig& c = config_;
  const reference::Weights w(book_, weights);
  const int64_t k = c.head_dim;
  const auto project = [&](WeightHandle matrix, WeightHandle bias) {
    Vector y = w.Linear(x, matrix, bias);
    for (double& value : y) {
      if (c.clip > 0) value = std::clamp(value, -c.clip, c.clip);
    }
    return y;
  };
  const auto norm_and_turn = [&](Vector y, int64_t heads,
                                 const NormHandle& norm) {
    const bool all = c.qk_norm_over == AttentionConfig::Over::kAll;
    const int64_t width = all ? heads * k : k;
    if (!c.qk_norm_after_rope) y = w.Normalize(norm, y, width);
    for (int64_t n = 0; n < batch.segments(); ++n) {
      // Angles may depend on the sequence's length.
      reference::Rotate(c.rope, batch.positions, batch.begin(n),
                        batch.begin(n + 1), batch.sequence_length(n), heads, k,
                        &y);
    }
    return c.qk_norm_after_rope ? w.Normalize(norm, y, k) : y;
  };
  const Vector q = norm_and_turn(project(q_, q_bias_), c.heads, q_norm_);
  const Vector keys = norm_and_turn(project(k_, k_bias_), c.kv_heads, k_norm_);
  const Vector flat_v = project(v_, v_bias_);
  const Vector v = w.Normalize(v_norm_, flat_v, k);
  Vector mask;
  if (c.dynamic_mask) {
    mask = w.Linear(flat_v, mask_);
    for (size_t i = 0; i < mask.size(); ++i) {
      mask[i] = std::exp(w[mask_decay_][i % c.kv_heads] *
                         ReferenceActivation(Activation::kSoftplus, mask[i]));
    }
  }
  AttentionCoreConfig core = c.core;
  if (c.alibi > 0) {
    for (float slope : AlibiSlopes(c.heads)) {
      core.slopes.push_back(static_cast<float>(c.alibi) * slope);
    }
  }
  Vector y = ReferenceAttentionCore(batch, batch, c.heads, c.kv_heads, q, keys,
                                    v, core, w.Find(sinks_),
                                    c.dynamic_mask ? &mask : nullptr)
                 .out;
  if (gate_.exists()) {
    const Vector gate = w.Linear(x, gate_);
    const int64_t width = c.gate == AttentionConfig::Gate::kHead ? k : 1;
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] *= ReferenceActivation(Activation::kSigmoid, gate[i / width]);
    }
  }
  return w.Linear(w.Normalize(out_norm_, y, c.heads * k), o_, o_bias_);
}

}  // namespace intarsia
