// One request's answer while the scheduler has it.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <span>
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
  // The first end of a piece past token `at` other than the grid's.
  int64_t NextStop(int64_t at) const {
    int64_t stop = prompt_end;
    for (const std::vector<int64_t>* stops : {&cuts, &marks}) {
      const auto it = std::ranges::upper_bound(*stops, at);
      if (it != stops->end()) stop = std::min(stop, *it);
    }
    return stop;
  }
  bool StopsAt(int64_t at) const {
    return std::ranges::binary_search(cuts, at) ||
           std::ranges::binary_search(marks, at);
  }
  PrefixKey KeyOf(int64_t first) const {
    return {.tokens = std::span<const int32_t>(tokens).first(
                static_cast<size_t>(first)),
            .cuts = cuts,
            .exact = std::min(first, exact_end)};
  }
  // What may be taken over: the last token runs for its logits. Of an answer
  // each token ran alone, which is no piece of a prompt.
  PrefixKey Wanted() const {
    const int64_t most = reuse == Reuse::kAll ? size() : prompt_end;
    return KeyOf(std::min(most, size() - 1));
  }
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
  Reuse reuse = Reuse::kNone;
  std::vector<int64_t> boundaries;  // Request's
  // Both ascending: ends of pieces off the grid, whatever is known of the
  // prompt; and where the state is to be kept for others.
  std::vector<int64_t> cuts, marks;
  int64_t exact_end = 0;          // PrefixKey::exact never passes it
  bool started = false;           // it was admitted once
  std::vector<int64_t> siblings;  // ids that wait for this prompt's end
};

}  // namespace intarsia
