// The flags of sampling, and what they mean for a tokenizer.
#pragma once

#include <string>
#include <vector>

#include "intarsia/cli/command.h"
#include "intarsia/engine/answer.h"
#include "intarsia/engine/sampler.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

struct SamplingFlags {
  SamplingOptions options;
  std::vector<std::string> logit_bias;  // "ID=BIAS"
  std::vector<std::string> dry_breakers = UsualDryBreakers();
};
void AddSampling(Verb verb, SamplingFlags* flags);

// The options with their seed, biases, and the tokens whose text holds a
// breaker; validated.
Result<SamplingOptions> Resolve(const SamplingFlags& flags, uint64_t seed,
                                const Tokenizer& tokenizer);

}  // namespace intarsia
