// PrefixIndex: snapshots of sequences by the tokens that they saw, so that a
// prompt which begins like an earlier one runs only what is new. Host code; it
// compares tokens, not hashes of them, so a match is never wrong. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "intarsia/cache/pool.h"

namespace intarsia {

class PrefixIndex {
 public:
  struct Options {
    // The most bytes that all snapshots hold: their copies, and each page once,
    // however many of them share it.
    int64_t bytes = 0;
    // Whether a snapshot serves its shorter beginnings too
    // (StatePool::truncates()); else it serves its own length alone.
    bool truncates = false;
  };
  explicit PrefixIndex(const Options& options) : options_(options) {}

  // Keeps a snapshot of a sequence that saw `tokens`. Others are evicted until
  // the budget holds. One that is larger than the budget is not kept, nor is
  // one of tokens that are known already.
  void Add(std::span<const int32_t> tokens,
           std::shared_ptr<const StateSnapshot> snapshot);

  // Why no more of a prompt was found.
  enum class Reason : uint8_t {
    kWhole,     // all of it was
    kUnknown,   // no snapshot begins like it
    kDiverged,  // snapshots differ from it from token `common` on
    kBetween,   // a snapshot shares `common` tokens and holds no state there
  };
  struct Match {
    // To Resume, then Truncate to `length` where its own is longer; null: none.
    std::shared_ptr<const StateSnapshot> snapshot;
    int64_t length = 0;  // tokens that need not run
    int64_t common = 0;  // the longest beginning that any snapshot shares
    Reason reason = Reason::kUnknown;
  };
  // The most of `tokens` that a snapshot saves. A caller that needs logits of
  // the last token leaves it out.
  Match Find(std::span<const int32_t> tokens);

  // Drops the snapshot whose loss costs the fewest tokens a byte; the least
  // recently used of equals. False: there is none.
  bool Evict();

  int64_t bytes() const { return bytes_; }
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  struct Counts {
    int64_t finds = 0, hits = 0, evictions = 0;
    int64_t tokens_asked = 0, tokens_found = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  using Tokens = std::vector<int32_t>;
  struct Entry {
    std::shared_ptr<const StateSnapshot> snapshot;
    int64_t used = 0;  // when
  };
  using Entries = std::map<Tokens, Entry>;  // in the order of their tokens

  void Drop(Entries::iterator entry);
  // Bytes that go with the entry, and tokens that would have to run again.
  int64_t OwnBytes(const StateSnapshot& snapshot) const;
  int64_t Cost(Entries::iterator entry);
  // The longest entry that is a beginning of `tokens`, `itself` left out.
  Entries::iterator Beginning(Tokens tokens, const Tokens* itself);

  Options options_;
  Entries entries_;
  std::map<StateSnapshot::Page, int> holders_;
  int64_t bytes_ = 0, clock_ = 0;
  Counts counts_;
};

}  // namespace intarsia
