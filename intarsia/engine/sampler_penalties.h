// The penalties of sampling: they change logits by what was said already.
#pragma once

#include <cstdint>
#include <span>

#include "intarsia/engine/sampler.h"

namespace intarsia {

// Repetition, presence and frequency. Ids outside `logits` are passed over.
void PenaliseOccurrences(const SamplingOptions& options,
                         std::span<const int32_t> history,
                         std::span<float> logits);

// DRY. Linear in the history it looks back on.
void PenaliseContinuations(const SamplingOptions& options,
                           std::span<const int32_t> history,
                           std::span<float> logits);

}  // namespace intarsia
