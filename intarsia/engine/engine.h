// Engine: prompts in, tokens out; a scheduler over a ModelRunner until all
// requests have ended.
#pragma once

#include <functional>
#include <vector>

#include "intarsia/engine/model_runner.h"
#include "intarsia/engine/request.h"

namespace intarsia {

// Of all requests of a call. The time of a step that runs prompts and answers
// together is split by their tokens.
struct GenerateStats {
  int64_t prompt_tokens = 0;  // that ran
  int64_t reused_tokens = 0;  // that were known (Request::reuse)
  int64_t generated_tokens = 0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;  // of the steps after the first token
  int64_t decode_tokens = 0;
  int64_t again_tokens = 0;  // computed again for lack of memory
};

// Called for each new token of each answer; false cancels that answer.
using TokenCallback = std::function<bool(size_t answer, int32_t token)>;

// Answers all requests; those of a request with n > 1 follow one another.
// Requests that find no slot or no memory wait for others to end. One that
// fails (non-finite logits, a prompt longer than the context) ends alone, with
// kError; the call fails only when nothing could run. `cancelled`, when given,
// is asked between the steps; true ends all requests with kCancelled, their
// sequences as far as they ran.
Result<std::vector<Generation>> Generate(
    ModelRunner& runner, const std::vector<Request>& requests,
    const TokenCallback& callback, GenerateStats* stats = nullptr,
    const std::function<bool()>& cancelled = nullptr);

}  // namespace intarsia
