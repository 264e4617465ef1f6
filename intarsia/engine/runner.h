// Runner: what the scheduler needs of whatever runs sequences. No tensors, so
// that a test drives the scheduler over a fake one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "intarsia/cache/prefix_key.h"
#include "intarsia/core/status.h"
#include "intarsia/engine/sampler.h"

namespace intarsia {

// Tokens to append to one sequence in a step, and what is wanted of them.
struct StepPiece {
  enum class Want : uint8_t {
    kNothing,  // more comes later
    kTokens,   // a token of each sampler, from the logits after the last token
    kLast,     // the logits after the last token
    kAll,      // the logits after each token
  };
  int slot = 0;
  std::span<const int32_t> tokens;  // at least one
  // Tokens that the sequence will have when what follows in later steps has
  // run: rotations by length (ops/rope) are those of the whole. 0: it ends
  // here.
  int64_t total = 0;
  Want want = Want::kNothing;
  // For kTokens, each with state of its own; and the prompt and answer so far.
  std::vector<Sampler*> samplers = {};
  std::span<const int32_t> history = {};
};
// Each slot at most once.
using StepPlan = std::vector<StepPiece>;

struct StepToken {
  int32_t id = -1;
  Status error;  // of this sampler alone, such as logits that aren't finite
};

class Runner {
 public:
  // Prefill cut at absolute multiples of this many positions changes no bit.
  static constexpr int64_t kGrid = 64;

  virtual ~Runner() = default;

  // Whether `tokens` are in the vocabulary and a sequence may have `end`
  // tokens.
  virtual Status Check(std::span<const int32_t> tokens, int64_t end) const = 0;

  // A fresh sequence's slot, or -1 when all are taken.
  virtual int Open() = 0;
  virtual void Close(int slot) = 0;
  virtual int64_t length(int slot) const = 0;
  // A copy of the sequence in a slot of its own; -1, and nothing changes, when
  // there is no slot or no room.
  virtual int Fork(int slot) = 0;
  // Makes room for `tokens` tokens in all; false, and nothing changes, when
  // there is none.
  virtual bool Reserve(int slot, int64_t tokens) = 0;

  // Moves a sequence out of its slot, which is closed; the ticket brings it
  // back, bitwise the same, into some slot. -1, and nothing changes, when there
  // is no room for it.
  virtual int64_t SwapOut(int slot) = 0;
  virtual int SwapIn(int64_t ticket) = 0;
  virtual void Drop(int64_t ticket) = 0;  // never to come back

  // Sequences that ran before, for those that begin alike. `total` as
  // StepPiece::total. Resume makes a fresh sequence the longest beginning of
  // key.tokens that is known; Peek says how long that one is.
  virtual PrefixMatch Resume(int /*slot*/, const PrefixKey& /*key*/,
                             int64_t /*total*/, Reuse /*reuse*/) {
    return {};
  }
  virtual int64_t Peek(const PrefixKey& /*key*/, int64_t /*total*/,
                       Reuse /*reuse*/) const {
    return 0;
  }
  // Keeps the sequence as it is, which has seen key.tokens, if there is room.
  virtual void Remember(int /*slot*/, const PrefixKey& /*key*/) {}
  // Drops one of those that are kept; false: there is none.
  virtual bool Forget() { return false; }
  // Memory as below that only they hold.
  virtual int64_t idle_bytes() const { return 0; }

  virtual int free_slots() const = 0;
  // Memory of per-token state: what a sequence of so many tokens takes at most,
  // what is free and what there is in all. 0 where a model keeps none.
  virtual int64_t BytesFor(int64_t tokens) const = 0;
  virtual int64_t free_bytes() const = 0;
  virtual int64_t total_bytes() const = 0;

  // Runs one step. Returns the tokens of all samplers, pieces in order. Fails
  // with nothing run and nothing reserved.
  virtual Result<std::vector<StepToken>> Tokens(const StepPlan& plan) = 0;
};

}  // namespace intarsia
