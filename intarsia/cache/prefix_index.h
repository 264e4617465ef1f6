// PrefixIndex: snapshots of sequences by the tokens that they saw, so that a
// prompt which begins like an earlier one runs only what is new. Host code; it
// compares tokens, not hashes of them, so a match is never wrong. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "intarsia/cache/pool.h"
#include "intarsia/cache/prefix_key.h"

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
    int64_t grid = 64;  // positions where a cut changes no bit
  };
  explicit PrefixIndex(const Options& options) : options_(options) {}

  // Keeps a snapshot of a sequence that saw key.tokens. Others are evicted
  // until the budget holds. One that is larger than the budget is not kept. Of
  // two of the same tokens the one with more exact ones stays.
  void Add(const PrefixKey& key, std::shared_ptr<const StateSnapshot> snapshot);
  // Whether Add would keep nothing new.
  bool Knows(const PrefixKey& key) const;

  struct Match : PrefixMatch {
    // To Resume, then Truncate to `tokens` where its own is longer; null: none.
    std::shared_ptr<const StateSnapshot> snapshot;
  };
  // The most of key.tokens that a snapshot saves; key.exact is not read. A
  // caller that needs logits of the last token leaves it out.
  Match Find(const PrefixKey& key, Reuse reuse);
  // The tokens that Find would save. Counts nothing.
  int64_t Peek(const PrefixKey& key, Reuse reuse) const;

  // Drops the snapshot whose loss costs the fewest tokens for each byte that
  // comes free; the least recently used of equals. One whose pages all belong
  // to others too goes last. False: there is none.
  bool Evict();

  int64_t bytes() const { return bytes_; }
  // Of pages that snapshots hold and no sequence does.
  int64_t idle_bytes() const;
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  struct Counts {
    int64_t finds = 0, hits = 0, evictions = 0;
    int64_t tokens_asked = 0, tokens_found = 0;
    std::map<PrefixMatch::Why, int64_t> why;
  };
  const Counts& counts() const { return counts_; }

 private:
  using Tokens = std::vector<int32_t>;
  struct Entry {
    std::shared_ptr<const StateSnapshot> snapshot;
    std::vector<int64_t> cuts;
    int64_t exact = 0, era = 0;
    int64_t used = 0;  // when
  };
  using Entries = std::map<Tokens, Entry>;  // in the order of their tokens
  struct Found {
    Entries::const_iterator entry;
    int64_t tokens = 0, exact = 0;
    int64_t common = 0;       // of any entry
    bool other_cuts = false;  // more is stored that ran in other pieces
  };

  Found Search(const PrefixKey& key, Reuse reuse) const;
  int64_t Usable(const Tokens& tokens, const Entry& entry, int64_t common,
                 const PrefixKey& key, Reuse reuse) const;
  void Hold(const StateSnapshot& snapshot);
  void LetGo(const StateSnapshot& snapshot);
  // The most of `tokens`, past `from`, that an evicted entry had.
  int64_t Evicted(std::span<const int32_t> tokens, int64_t from) const;
  // Bytes that come free with the entry, and tokens that would run again.
  int64_t OwnBytes(const StateSnapshot& snapshot) const;
  int64_t Cost(Entries::iterator entry);
  // The longest entry that is a beginning of `tokens`, `itself` left out.
  Entries::iterator Beginning(Tokens tokens, const Tokens& itself);

  Options options_;
  Entries entries_;
  std::map<StateSnapshot::Page, int> holders_;
  int64_t bytes_ = 0, clock_ = 0;
  // Of entries that were evicted lately, to say so; hashes of their tokens.
  std::deque<uint64_t> evicted_;
  std::multiset<uint64_t> evicted_hashes_;
  Counts counts_;
};

}  // namespace intarsia
