#include "intarsia/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "intarsia/engine/sampler_penalties.h"

namespace intarsia {

Status Validate(const SamplingOptions& o) {
  auto bad = [](const char* what) {
    return InvalidArgument(std::string("[sampler] ") + what);
  };
  if (!(o.temperature >= 0.0f) || !std::isfinite(o.temperature)) {
    return bad("temperature must be 0 (greedy) or more");
  }
  if (o.top_k < 0) return bad("top-k must be 0 (off) or more");
  if (!(o.top_p > 0.0f && o.top_p <= 1.0f)) {
    return bad("top-p must be above 0 and at most 1");
  }
  if (!(o.min_p >= 0.0f && o.min_p <= 1.0f)) {
    return bad("min-p must be from 0 to 1");
  }
  if (!(o.typical_p > 0.0f && o.typical_p <= 1.0f)) {
    return bad("typical-p must be above 0 and at most 1");
  }
  if (!(o.repeat_penalty > 0.0f) || !std::isfinite(o.repeat_penalty)) {
    return bad("the repeat penalty must be above 0 (1 is off)");
  }
  if (!std::isfinite(o.presence_penalty) ||
      !std::isfinite(o.frequency_penalty)) {
    return bad("the presence and frequency penalties must be numbers");
  }
  if (o.repeat_last < -1 || o.dry_last < -1) {
    return bad("tokens to look back on must be 0 or more, or -1 for all");
  }
  if (!(o.dry_multiplier >= 0.0f) || !std::isfinite(o.dry_multiplier)) {
    return bad("the DRY multiplier must be 0 (off) or more");
  }
  if (!(o.dry_base >= 1.0f) || !std::isfinite(o.dry_base)) {
    return bad("the DRY base must be 1 or more");
  }
  if (o.dry_allowed_length < 1) {
    return bad("the DRY allowed length must be 1 or more");
  }
  if (!std::ranges::is_sorted(o.dry_breakers)) {
    return bad("the DRY breakers must be ascending ids");
  }
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0) return bad("a logit bias names a negative token id");
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      return bad("a logit bias must be a number or -inf");
    }
  }
  return Status::Ok();
}

int32_t Greedy(std::span<const float> logits) {
  CHECK(!logits.empty());
  return static_cast<int32_t>(std::ranges::max_element(logits) -
                              logits.begin());
}

bool AllFinite(std::span<const float> values) {
  // The sum of x·0 is 0 for finite numbers and NaN otherwise.
  float sum = 0.0f;
  for (float x : values) sum += x * 0.0f;
  return sum == 0.0f;
}

Sampler::Sampler(SamplingOptions options) : options_(std::move(options)) {}

bool Sampler::greedy() const {
  const SamplingOptions& o = options_;
  return o.temperature == 0.0f && o.logit_bias.empty() &&
         o.repeat_penalty == 1.0f && o.presence_penalty == 0.0f &&
         o.frequency_penalty == 0.0f && o.dry_multiplier == 0.0f;
}

Result<int32_t> Sampler::Sample(std::span<const float> logits,
                                std::span<const int32_t> history) {
  if (!AllFinite(logits)) {
    return DataLoss("[sampler] the model's logits are not finite");
  }
  logits_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : options_.logit_bias) {
    if (id >= static_cast<int32_t>(logits_.size())) {
      return InvalidArgument("[sampler] a logit bias names token " +
                             std::to_string(id) + ", the vocabulary has " +
                             std::to_string(logits_.size()));
    }
    logits_[id] += bias;
  }
  PenaliseOccurrences(options_, history, logits_);
  PenaliseContinuations(options_, history, logits_);
  const int32_t best = Greedy(logits_);
  if (logits_[best] == -std::numeric_limits<float>::infinity()) {
    return InvalidArgument("[sampler] the logit bias forbids every token");
  }
  if (options_.temperature == 0.0f) return best;
  Rank();
  KeepTypical();
  KeepLikeliest();
  return Draw(history.size());
}

// Candidates from the likeliest down, as many as top-k asks for.
void Sampler::Rank() {
  order_.resize(logits_.size());
  std::iota(order_.begin(), order_.end(), 0);
  const size_t keep = options_.top_k > 0
                          ? std::min<size_t>(options_.top_k, logits_.size())
                          : logits_.size();
  const auto likelier = [&](int32_t a, int32_t b) {
    return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
  };
  const auto end = order_.begin() + static_cast<std::ptrdiff_t>(keep);
  std::partial_sort(order_.begin(), end, order_.end(), likelier);
  order_.resize(keep);
  weights_.resize(keep);
  const double top = logits_[order_[0]];
  for (size_t i = 0; i < keep; ++i) {
    weights_[i] = std::exp((logits_[order_[i]] - top) / options_.temperature);
  }
  // What is forbidden, or underflows, must not be drawn by a rounding error.
  while (weights_.back() == 0.0) weights_.pop_back();
  order_.resize(weights_.size());
}

void Sampler::KeepTypical() {
  if (options_.typical_p >= 1.0f) return;
  const size_t n = weights_.size();
  const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  const auto information = [&](size_t i) {
    return std::log(total) - std::log(weights_[i]);
  };
  double entropy = 0;
  for (size_t i = 0; i < n; ++i) {
    if (weights_[i] > 0) entropy += weights_[i] / total * information(i);
  }
  // How far each token's information is from the entropy, nearest first.
  std::vector<std::pair<double, size_t>> distances(n);
  for (size_t i = 0; i < n; ++i) {
    distances[i] = {std::abs(information(i) - entropy), i};
  }
  std::sort(distances.begin(), distances.end());
  std::vector<bool> kept(n, false);
  double mass = 0;
  for (const auto& [distance, i] : distances) {
    if (mass >= options_.typical_p * total) break;
    kept[i] = true;
    mass += weights_[i];
  }
  size_t out = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!kept[i]) continue;
    order_[out] = order_[i];
    weights_[out++] = weights_[i];
  }
  order_.resize(out);
  weights_.resize(out);
}

// Top-p and min-p: both keep a beginning of the ranked candidates.
void Sampler::KeepLikeliest() {
  const double enough =
      options_.top_p * std::accumulate(weights_.begin(), weights_.end(), 0.0);
  const double least = options_.min_p * weights_[0];
  size_t n = 0;
  double mass = 0.0;
  while (n < weights_.size() &&
         (n == 0 || (mass < enough && weights_[n] >= least))) {
    mass += weights_[n++];
  }
  order_.resize(n);
  weights_.resize(n);
}

int32_t Sampler::Draw(uint64_t counter) const {
  Random random(options_.seed, counter);
  // 53 bits: 24 would leave unlikely tokens of large vocabularies unreachable.
  const uint64_t high = random.NextU32(), low = random.NextU32();
  double draw = static_cast<double>(((high << 32) | low) >> 11) * 0x1p-53 *
                std::accumulate(weights_.begin(), weights_.end(), 0.0);
  for (size_t i = 0; i + 1 < weights_.size(); ++i) {
    draw -= weights_[i];
    if (draw < 0) return order_[i];
  }
  return order_.back();
}

}  // namespace intarsia
