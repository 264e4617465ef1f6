// Sampling: from a row of logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "intarsia/core/random.h"
#include "intarsia/core/status.h"

namespace intarsia {

// The filters apply in this order: repetition penalty, temperature, top-k,
// top-p, min-p.
struct SamplingOptions {
  float temperature = 0.7f;     // 0: greedy
  int top_k = 40;               // 0: off
  float top_p = 0.95f;          // 1: off
  float min_p = 0.05f;          // relative to the likeliest token; 0: off
  float repeat_penalty = 1.0f;  // 1: off (Keskar et al. 2019)
  int repeat_last = 64;         // tokens it looks back on; -1: all
  uint64_t seed = 0;
};

Status Validate(const SamplingOptions& options);

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options) {}

  // `history`: prompt and answer so far. The draw depends on (seed, length of
  // the history) alone, so batches and threads never change a text. Ties go to
  // the lower id. Fails when a logit is not finite.
  Result<int32_t> Sample(std::span<const float> logits,
                         std::span<const int32_t> history);

 private:
  SamplingOptions options_;
  std::vector<float> penalised_;
  std::vector<int32_t> order_;
};

// The likeliest token; ties go to the lower id.
int32_t Greedy(std::span<const float> logits);
bool AllFinite(std::span<const float> values);

}  // namespace intarsia
