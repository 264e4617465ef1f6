// Sampling: from a row of logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/random.h"
#include "intarsia/core/status.h"

namespace intarsia {

// What is applied, in this order: logit bias, penalties (repetition, presence,
// frequency, DRY), temperature, top-k, typical, top-p, min-p. Each filter keeps
// at least the best token.
struct SamplingOptions {
  float temperature = 0.7f;  // 0: greedy
  int top_k = 40;            // 0: off
  float top_p = 0.95f;       // 1: off (Holtzman et al. 2020)
  float min_p = 0.05f;       // relative to the likeliest token; 0: off
  // Keeps the tokens whose information is nearest to the entropy, until they
  // hold this mass (Meister et al. 2023); 1: off.
  float typical_p = 1.0f;

  // Of the tokens that occur in the last `repeat_last` (-1: in all) of the
  // history: a positive logit is divided by repeat_penalty, a negative one
  // multiplied (Keskar et al. 2019); then presence_penalty is subtracted once
  // and frequency_penalty for each occurrence.
  float repeat_penalty = 1.0f;     // 1: off
  float presence_penalty = 0.0f;   // 0: off
  float frequency_penalty = 0.0f;  // 0: off
  int repeat_last = 64;

  // DRY, "don't repeat yourself": a token that would continue an earlier
  // occurrence of the last n >= dry_allowed_length tokens loses
  // dry_multiplier * dry_base^(n - dry_allowed_length). A breaker ends the
  // comparison, so that what opens each line of a dialogue may come again.
  float dry_multiplier = 0.0f;  // 0: off
  float dry_base = 1.75f;
  int dry_allowed_length = 2;
  int dry_last = -1;                       // tokens it looks back on; -1: all
  std::vector<int32_t> dry_breakers = {};  // ids, ascending

  // Added to the logit of a token; -infinity forbids it.
  std::vector<std::pair<int32_t, float>> logit_bias = {};

  uint64_t seed = 0;
};

Status Validate(const SamplingOptions& options);

class Sampler {
 public:
  explicit Sampler(SamplingOptions options);

  const SamplingOptions& options() const { return options_; }
  // Takes the likeliest token of the logits as they are.
  bool greedy() const;

  // `history`: prompt and answer so far. The draw depends on (seed, length of
  // the history) alone, so batches and threads never change a text. Ties go to
  // the lower id. Fails when a logit is not finite, or
  // when the bias names no token or forbids them all.
  Result<int32_t> Sample(std::span<const float> logits,
                         std::span<const int32_t> history);

 private:
  void Rank();
  void KeepTypical();
  void KeepLikeliest();
  int32_t Draw(uint64_t counter) const;

  SamplingOptions options_;
  std::vector<float> logits_;    // adjusted
  std::vector<int32_t> order_;   // candidates, likeliest first
  std::vector<double> weights_;  // of the candidates; the likeliest has 1
};

// The likeliest token; ties go to the lower id.
int32_t Greedy(std::span<const float> logits);
bool AllFinite(std::span<const float> values);

}  // namespace intarsia
