// One request's answer while the scheduler has it.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "intarsia/engine/request.h"

namespace intarsia {

// The order of requests: the smaller goes first and is never held up by the
// larger. Fixed when a request arrives.
struct Rank {
  int64_t turn = 0;  // the step of arrival, less what the priority is worth
  int64_t id = 0;
  auto operator<=>(const Rank&) const = default;
};

struct Sequence {
  enum class Place : uint8_t {
    kWaiting,  // has no slot
    kRunning,
    kSibling,  // waits for the prompt that another one runs
  };

  int64_t position(int64_t token) const { return offset + token; }
  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  bool in_prompt() const { return computed < prompt_end; }
  // Its state can be computed again from its tokens.
  bool recomputable() const { return offset == 0; }

  Rank rank;
  Place place = Place::kWaiting;
  std::vector<int32_t> tokens;  // what stood before, the prompt, the answer
  int64_t prompt_end = 0;       // first token of the answer
  int64_t computed = 0;         // tokens that the state has seen
  int64_t reached = 0;          // the most that it ever had
  // Positions before tokens[0], of a caller's sequence that didn't say what its
  // state has seen.
  int64_t offset = 0;
  int64_t reserved = 0;  // positions that have memory, at least
  int slot = -1;
  bool owned = true;    // the slot is the scheduler's
  int64_t ticket = -1;  // of a state that was moved out
  int64_t max_tokens = 0;
  std::vector<int32_t> stop_ids;
  Sampler sampler{SamplingOptions()};
  std::vector<int64_t> siblings;  // ids that wait for this prompt's end
};

}  // namespace intarsia
