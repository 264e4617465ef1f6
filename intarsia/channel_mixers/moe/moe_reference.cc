// The equation of README.md in double precision, one token at a time.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "intarsia/channel_mixers/moe/moe.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

// The indices of `values`, largest first; of equals the lower one.
std::vector<int64_t> Ranked(const Doubles& values) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  return order;
}

Doubles Softmax(Doubles logits) {
  double sum = 0;
  for (double& value : logits) sum += value = std::exp(value);
  for (double& value : logits) value /= sum;
  return logits;
}

// act(gate) ⊙ (up + offset), both clamped; or act(up).
double Unit(const MoeConfig& config, double gate, double up) {
  if (config.clamp > 0) {
    gate = std::min(gate, double{config.clamp});
    up = std::clamp(up, -double{config.clamp}, double{config.clamp});
  }
  return config.gated ? ReferenceActivation(config.activation, gate) *
                            (up + config.up_offset)
                      : ReferenceActivation(config.activation, up);
}

// The experts that are allowed: those in the best groups.
std::vector<bool> Allowed(const MoeConfig& config, const Doubles& keys) {
  const size_t size = keys.size() / config.groups;
  Doubles groups;
  for (int g = 0; g < config.groups; ++g) {
    Doubles part(keys.begin() + g * size, keys.begin() + (g + 1) * size);
    std::sort(part.rbegin(), part.rend());
    const bool two = config.group_score == GroupScore::kTopTwo && size > 1;
    groups.push_back(part[0] + (two ? part[1] : 0.0));
  }
  std::vector<bool> allowed(keys.size(), false);
  const std::vector<int64_t> best = Ranked(groups);
  for (int i = 0; i < config.top_groups; ++i) {
    std::fill_n(allowed.begin() + best[i] * size, size, true);
  }
  return allowed;
}

// The weight of each expert, 0 for those that are not chosen.
Doubles WeightsOf(const MoeConfig& config, const Doubles& logits,
                  const Doubles* select_bias) {
  Doubles weights(logits.size(), 0.0);
  if (config.sparse_mixer > 0) {
    Doubles left = logits;
    for (int r = 0; r < config.top_k; ++r) {
      const int64_t best = Ranked(left)[0];
      double sum = 0;
      for (size_t e = 0; e < left.size(); ++e) {
        const double scale = std::max(std::abs(left[e]), left[best]);
        if ((left[best] - left[e]) / scale <= 2 * double{config.sparse_mixer}) {
          sum += std::exp(left[e] - left[best]);
        }
      }
      weights[best] = config.routed_scale / sum;
      left[best] = -INFINITY;
    }
    return weights;
  }
  Doubles scores = logits;
  for (double& s : scores) {
    if (config.score == RouterScore::kSigmoid) s = 1 / (1 + std::exp(-s));
    if (config.score == RouterScore::kSqrtSoftplus) {
      s = std::sqrt(std::log(1 + std::exp(s)));
    }
  }
  if (config.score == RouterScore::kSoftmax) scores = Softmax(scores);
  Doubles keys = scores;
  for (size_t e = 0; select_bias != nullptr && e < keys.size(); ++e) {
    keys[e] += (*select_bias)[e];
  }
  const std::vector<bool> allowed = Allowed(config, keys);
  std::vector<int64_t> chosen;
  for (int64_t e : Ranked(keys)) {
    if (allowed[e] && static_cast<int>(chosen.size()) < config.top_k) {
      chosen.push_back(e);
    }
  }
  double sum = config.normalize ? double{config.normalize_eps} : 1.0;
  for (int64_t e : chosen) sum += config.normalize ? scores[e] : 0.0;
  for (int64_t e : chosen) weights[e] = config.routed_scale * scores[e] / sum;
  return weights;
}

}  // namespace

std::vector<double> Moe::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const int64_t dim = config_.dim, hidden = config_.hidden;
  const int64_t width = config_.expert_dim(), choices = config_.choices();
  const reference::Weights w(book_, weights);
  Doubles routed = w.Normalize(router_norm_, x, dim);
  for (double& value : routed) value *= config_.router_input_scale;
  const Doubles logits = w.Linear(routed, router_, router_bias_);
  Doubles in = w.Normalize(input_norm_, x, dim);
  if (config_.latent > 0) in = w.Linear(in, latent_down_);

  const auto expert = [&](int64_t e, const double* token) {
    const auto product = [&](WeightHandle matrix, WeightHandle bias, int64_t n,
                             int64_t k, const double* from) {
      Doubles out(n);
      for (int64_t i = 0; i < n; ++i) {
        out[i] = bias.exists() ? w[bias][e * n + i] : 0.0;
        for (int64_t j = 0; j < k; ++j) {
          out[i] += w[matrix][(e * n + i) * k + j] * from[j];
        }
      }
      return out;
    };
    Doubles h = product(up_, up_bias_, hidden, width, token), gate = h;
    if (config_.gated) gate = product(gate_, gate_bias_, hidden, width, token);
    for (int64_t f = 0; f < hidden; ++f) h[f] = Unit(config_, gate[f], h[f]);
    return product(down_, down_bias_, width, hidden, h.data());
  };
  Doubles y(batch.size() * width, 0.0);
  for (int64_t t = 0; t < batch.size(); ++t) {
    const double* token = in.data() + t * width;
    const Doubles p = WeightsOf(
        config_, Doubles(&logits[t * choices], &logits[t * choices] + choices),
        w.Find(select_bias_));
    for (int64_t e = 0; e < choices; ++e) {
      if (p[e] == 0) continue;
      const Doubles out = e < config_.experts ? expert(e, token)
                                              : Doubles(token, token + width);
      const double factor =
          expert_scale_.exists() ? p[e] * w[expert_scale_][e] : p[e];
      for (int64_t d = 0; d < width; ++d) y[t * width + d] += factor * out[d];
    }
  }
  if (config_.latent > 0) y = w.Linear(y, latent_up_);
  for (size_t i = 0; output_bias_.exists() && i < y.size(); ++i) {
    y[i] += w[output_bias_][i % dim];
  }
  if (config_.shared_hidden == 0) return y;
  Doubles h = w.Linear(x, shared_up_), gate = h;
  if (config_.gated) gate = w.Linear(x, shared_gate_);
  for (size_t i = 0; i < h.size(); ++i) h[i] = Unit(config_, gate[i], h[i]);
  const Doubles shared = w.Linear(h, shared_down_);
  Doubles factor(batch.size(), 1.0);
  if (config_.shared_router) {
    factor = w.Linear(x, shared_router_);
    for (double& value : factor) value = 1 / (1 + std::exp(-value));
  }
  for (size_t i = 0; i < y.size(); ++i) y[i] += factor[i / dim] * shared[i];
  return y;
}

}  // namespace intarsia
