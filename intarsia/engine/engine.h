// Engine: prompts in, tokens out, over a ModelRunner. This one runs a static
// batch: all requests together until the last one ends.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/engine/model_runner.h"
#include "intarsia/engine/sampler.h"

namespace intarsia {

struct Request {
  std::vector<int32_t> prompt;  // at least one token
  SamplingOptions sampling;
  int max_tokens = 256;
  std::vector<int32_t> stop_ids;  // ends the answer and is not part of it
  // A sequence already open, whose state has seen tokens before `prompt`, and
  // those tokens for the penalties; -1: opened and closed here.
  int slot = -1;
  std::vector<int32_t> before;
};

struct Generation {
  enum class Finish : uint8_t { kStop, kLength, kCancelled, kError };
  std::vector<int32_t> tokens;
  Finish finish = Finish::kLength;
  Status error;
};

struct GenerateStats {
  int64_t prompt_tokens = 0;  // that ran
  int64_t generated_tokens = 0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;  // of the steps after the first token
  int64_t decode_tokens = 0;
};

// Called for each new token of each request; false cancels that request.
using TokenCallback = std::function<bool(size_t request, int32_t token)>;

// Answers all requests. A request that fails (non-finite logits) ends alone,
// with kError; the call fails only when nothing could run. `cancelled`, when
// given, is asked between the chunks of long prompts (ModelRunner::Run); true
// ends all requests with kCancelled, their sequences as far as they ran.
Result<std::vector<Generation>> Generate(
    ModelRunner& runner, const std::vector<Request>& requests,
    const TokenCallback& callback, GenerateStats* stats = nullptr,
    const std::function<bool()>& cancelled = nullptr);

// Holds back text that could be the start of a stop string.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops)
      : stops_(std::move(stops)) {}
  // Returns the text that is safe to show. After a stop string was found,
  // stopped() is true and all later text is dropped.
  std::string Push(const std::string& text);
  std::string Finish();  // what was held back
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace intarsia
