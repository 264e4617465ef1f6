#include "intarsia/engine/sampler_penalties.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

namespace intarsia {
namespace {

std::span<const int32_t> Last(std::span<const int32_t> history, int count) {
  return count < 0 ? history
                   : history.last(std::min<size_t>(history.size(), count));
}

// z[i]: the length of the longest common prefix of `text` and its rest from i
// on (Gusfield 1997, "Z algorithm"); z[0] is 0.
std::vector<int> CommonPrefixes(std::span<const int32_t> text) {
  const int n = static_cast<int>(text.size());
  std::vector<int> z(text.size(), 0);
  for (int i = 1, left = 0, right = 0; i < n; ++i) {
    if (i < right) z[i] = std::min(right - i, z[i - left]);
    while (i + z[i] < n && text[z[i]] == text[i + z[i]]) ++z[i];
    if (i + z[i] > right) {
      left = i;
      right = i + z[i];
    }
  }
  return z;
}

}  // namespace

void PenaliseOccurrences(const SamplingOptions& options,
                         std::span<const int32_t> history,
                         std::span<float> logits) {
  if (options.repeat_penalty == 1.0f && options.presence_penalty == 0.0f &&
      options.frequency_penalty == 0.0f) {
    return;
  }
  std::unordered_map<int32_t, int> counts;
  for (const int32_t id : Last(history, options.repeat_last)) ++counts[id];
  for (const auto& [id, count] : counts) {
    if (id < 0 || id >= static_cast<int32_t>(logits.size())) continue;
    float& x = logits[id];
    x = x > 0 ? x / options.repeat_penalty : x * options.repeat_penalty;
    x -= options.presence_penalty +
         static_cast<float>(count) * options.frequency_penalty;
  }
}

void PenaliseContinuations(const SamplingOptions& options,
                           std::span<const int32_t> history,
                           std::span<float> logits) {
  if (options.dry_multiplier == 0.0f) return;
  const auto recent = Last(history, options.dry_last);
  // Backwards, a repeated end of the text is a repeated beginning.
  const std::vector<int32_t> reversed(recent.rbegin(), recent.rend());
  const auto breaks = [&](int32_t id) {
    return std::ranges::binary_search(options.dry_breakers, id);
  };
  const int longest = static_cast<int>(std::ranges::find_if(reversed, breaks) -
                                       reversed.begin());
  if (longest < options.dry_allowed_length) return;
  const std::vector<int> common = CommonPrefixes(reversed);
  // The token that followed the occurrence which ends at i is at i - 1.
  std::unordered_map<int32_t, int> lengths;
  for (size_t i = 1; i < reversed.size(); ++i) {
    int& length = lengths[reversed[i - 1]];
    length = std::max(length, std::min(common[i], longest));
  }
  for (const auto& [id, length] : lengths) {
    if (length < options.dry_allowed_length || id < 0 ||
        id >= static_cast<int32_t>(logits.size())) {
      continue;
    }
    // Past some hundred the token is forbidden in all but name; a longer power
    // would overflow.
    constexpr float kMost = 1e4f;
    const float power =
        std::pow(options.dry_base,
                 static_cast<float>(length - options.dry_allowed_length));
    logits[id] -= std::min(kMost, options.dry_multiplier * power);
  }
}

}  // namespace intarsia
