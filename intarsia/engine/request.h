// Requests and what becomes of them.
#pragma once

#include <cstdint>
#include <vector>

#include "intarsia/cache/prefix_key.h"
#include "intarsia/core/status.h"
#include "intarsia/engine/sampler.h"

namespace intarsia {

struct Request {
  std::vector<int32_t> prompt;  // at least one token
  SamplingOptions sampling;
  int max_tokens = 256;
  std::vector<int32_t> stop_ids;  // ends the answer and is not part of it
  // A sequence already open, whose state has seen tokens before `prompt`, and
  // those tokens for the penalties; -1: opened and closed by the scheduler. A
  // sequence of the caller's is never preempted.
  int slot = -1;
  std::vector<int32_t> before;
  // Answers wanted. They share the run of the prompt; the i-th is, bit for bit,
  // the answer to this request with the seed sampling.seed + i. More than one
  // needs slot -1.
  int n = 1;
  int priority = 0;  // -100 to 100; more is sooner (Scheduler::Options::aging)
  // Which states of earlier requests it may go on from. With kAll its own, the
  // answer's too, serve those that follow, and an answer that is computed again
  // for lack of memory agrees as far as rounding goes.
  Reuse reuse = Reuse::kExact;
  // Ascending: where messages end within the prompt. Its run is cut there,
  // whatever is stored, so that later prompts can part there.
  std::vector<int64_t> boundaries = {};
};

struct Generation {
  enum class Finish : uint8_t { kStop, kLength, kCancelled, kError };
  std::vector<int32_t> tokens;
  Finish finish = Finish::kLength;
  // With kError what failed; with kLength, when it isn't ok, why the answer
  // ends before max_tokens: the context or the pool is full.
  Status error;
  PrefixMatch prefix;                // what of the prompt needed no run
  double first_token_seconds = 0.0;  // from the call to the first token
  double decode_seconds = 0.0;       // from the first token to the last
};

}  // namespace intarsia
