#include "intarsia/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

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
  if (!(o.repeat_penalty > 0.0f) || !std::isfinite(o.repeat_penalty)) {
    return bad("the repeat penalty must be above 0 (1 is off)");
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

Result<int32_t> Sampler::Sample(std::span<const float> logits,
                                std::span<const int32_t> history) {
  if (!AllFinite(logits)) {
    return DataLoss("[sampler] the model's logits are not finite");
  }
  if (options_.repeat_penalty != 1.0f) {
    penalised_.assign(logits.begin(), logits.end());
    const size_t last =
        options_.repeat_last < 0
            ? history.size()
            : std::min<size_t>(history.size(), options_.repeat_last);
    const auto recent = history.last(last);
    for (int32_t id :
         std::unordered_set<int32_t>(recent.begin(), recent.end())) {
      if (id < 0 || id >= static_cast<int32_t>(logits.size())) continue;
      float& x = penalised_[id];
      x = x > 0 ? x / options_.repeat_penalty : x * options_.repeat_penalty;
    }
    logits = penalised_;
  }
  if (options_.temperature == 0.0f) return Greedy(logits);

  // Candidates from the likeliest down, as many as top-k asks for.
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  const size_t keep = options_.top_k > 0
                          ? std::min<size_t>(options_.top_k, logits.size())
                          : logits.size();
  std::partial_sort(order_.begin(), order_.begin() + keep, order_.end(),
                    [&](int32_t a, int32_t b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b]
                                                    : a < b;
                    });
  order_.resize(keep);
  std::vector<double> weights(keep);
  const double top = logits[order_[0]];
  for (size_t i = 0; i < keep; ++i) {
    weights[i] = std::exp((logits[order_[i]] - top) / options_.temperature);
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t n = 0;
  double kept = 0.0;
  while (n < keep && (n == 0 || (kept < options_.top_p * total &&
                                 weights[n] >= options_.min_p))) {
    kept += weights[n++];
  }
  Random random(options_.seed, history.size());
  // 53 bits: 24 would leave unlikely tokens of large vocabularies unreachable.
  const uint64_t high = random.NextU32(), low = random.NextU32();
  double draw =
      static_cast<double>(((high << 32) | low) >> 11) * 0x1p-53 * kept;
  for (size_t i = 0; i + 1 < n; ++i) {
    draw -= weights[i];
    if (draw < 0) return order_[i];
  }
  return order_[n - 1];
}

}  // namespace intarsia
