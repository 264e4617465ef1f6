// A runner without a model, for tests of the scheduler: it keeps books of slots
// and pages, and its state is a hash of the tokens seen and of where pieces
// ended off the grid. Sequences that it keeps share their pages with those that
// go on from them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "intarsia/engine/runner.h"

namespace intarsia {

class FakeRunner : public Runner {
 public:
  static constexpr int32_t kVocab = 97;
  struct Options {
    int slots = 1;
    int64_t pages = 1, page = 16;
    int64_t context = 128;
    int64_t swap_pages = 0;
    int64_t kept = 0;  // most sequences for those that begin alike; 0: none
  };
  explicit FakeRunner(const Options& options) : options_(options) {
    for (int64_t p = 0; p < options.pages; ++p) free_.insert(p);
    holders_.resize(options.pages);
    slots_.resize(options.slots);
  }

  static uint64_t Next(uint64_t state, int32_t token) {
    state = (state ^ static_cast<uint64_t>(token + 1)) * 0xD6E8FEB86659FD93ULL;
    return state ^ (state >> 29);
  }
  // After the last token of a piece, at length `length`.
  static uint64_t Ended(uint64_t state, int64_t length) {
    return length % kGrid == 0 ? state : Next(state, 1000);
  }
  // One in a few hundred draws fails, as logits do that aren't finite.
  static StepToken Draw(uint64_t state, uint64_t seed) {
    const uint64_t x = Next(state, static_cast<int32_t>(seed));
    StepToken token;
    if (x % 331 == 5) {
      token.error = DataLoss("[fake] not finite");
    } else {
      token.id = static_cast<int32_t>((x >> 17) % kVocab);
    }
    return token;
  }

  Status Check(std::span<const int32_t> tokens, int64_t end) const override {
    if (end > options_.context) return InvalidArgument("[fake] context");
    for (const int32_t t : tokens) {
      if (t < 0 || t >= kVocab) return InvalidArgument("[fake] token");
    }
    return Status::Ok();
  }

  int Open() override {
    for (size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].used) continue;
      slots_[s].used = true;
      return static_cast<int>(s);
    }
    return -1;
  }
  void Close(int slot) override {
    Slot& s = At(slot);
    Release(s.pages);
    s = {};
  }
  int64_t length(int slot) const override { return At(slot).length; }
  uint64_t state(int slot) const { return At(slot).state; }

  int Fork(int slot) override {
    const int copy = Open();
    if (copy < 0) return -1;
    if (!Reserve(copy, At(slot).length)) {
      Close(copy);
      return -1;
    }
    At(copy).length = At(slot).length;
    At(copy).state = At(slot).state;
    return copy;
  }
  // Pages that it will write are its own from here on.
  bool Reserve(int slot, int64_t tokens) override {
    Slot& s = At(slot);
    const auto has = static_cast<int64_t>(s.pages.size());
    const int64_t begin = s.length / options_.page;
    int64_t need = std::max<int64_t>(0, Pages(tokens) - has);
    const bool part =
        tokens > s.length && begin < has && holders_[s.pages[begin]] > 1;
    if (need + (part ? 1 : 0) > static_cast<int64_t>(free_.size())) {
      return false;
    }
    if (part) {
      --holders_[s.pages[begin]];
      s.pages[begin] = Take();
    }
    for (; need > 0; --need) s.pages.push_back(Take());
    return true;
  }

  PrefixMatch Resume(int slot, const PrefixKey& key, int64_t total,
                     Reuse reuse) override {
    EXPECT_EQ(At(slot).length, 0);
    EXPECT_GE(total, static_cast<int64_t>(key.tokens.size()));
    PrefixMatch match;
    if (options_.kept == 0) return match;
    match.own_length = true;
    match.why = PrefixMatch::Why::kUnknown;
    const Kept* best = Best(key, reuse, &match.common);
    if (best == nullptr) return match;
    match.why = PrefixMatch::Why::kDiverged;
    match.tokens = match.exact = best->slot.length;
    At(slot) = best->slot;
    At(slot).used = true;
    for (const int64_t p : best->slot.pages) ++holders_[p];
    reused_ += match.tokens;
    return match;
  }
  int64_t Peek(const PrefixKey& key, int64_t, Reuse reuse) const override {
    int64_t common = 0;
    const Kept* best = Best(key, reuse, &common);
    return best == nullptr ? 0 : best->slot.length;
  }
  void Remember(int slot, const PrefixKey& key) override {
    const Slot& s = At(slot);
    EXPECT_EQ(s.length, static_cast<int64_t>(key.tokens.size()));
    if (options_.kept == 0) return;
    // A sequence that goes on writing its last page needs one of its own.
    if (s.length % options_.page != 0 && free_.empty()) return;
    Kept kept{.tokens = {key.tokens.begin(), key.tokens.end()},
              .cuts = {key.cuts.begin(), key.cuts.end()},
              .exact = key.exact,
              .slot = s};
    kept.slot.pages.resize(Pages(s.length));
    for (const int64_t p : kept.slot.pages) ++holders_[p];
    kept_.push_back(std::move(kept));
    if (static_cast<int64_t>(kept_.size()) > options_.kept) Forget();
  }
  bool Forget() override {
    if (kept_.empty()) return false;
    Release(kept_.front().slot.pages);
    kept_.erase(kept_.begin());
    return true;
  }
  int64_t idle_bytes() const override {
    std::map<int64_t, int> kept;
    for (const Kept& k : kept_) {
      for (const int64_t p : k.slot.pages) ++kept[p];
    }
    int64_t idle = 0;
    for (const auto& [p, n] : kept) idle += n == holders_[p];
    return idle;
  }

  int64_t SwapOut(int slot) override {
    const Slot out = At(slot);
    if (swapped_pages_ + Pages(out.length) > options_.swap_pages) return -1;
    swapped_pages_ += Pages(out.length);
    Close(slot);
    swapped_[next_ticket_] = out;
    return next_ticket_++;
  }
  int SwapIn(int64_t ticket) override {
    const Slot in = swapped_.at(ticket);
    const int slot = Open();
    if (slot < 0) return -1;
    if (!Reserve(slot, in.length)) {
      Close(slot);
      return -1;
    }
    At(slot).length = in.length;
    At(slot).state = in.state;
    Drop(ticket);
    return slot;
  }
  void Drop(int64_t ticket) override {
    swapped_pages_ -= Pages(swapped_.at(ticket).length);
    swapped_.erase(ticket);
  }

  int free_slots() const override {
    int free = 0;
    for (const Slot& s : slots_) free += !s.used;
    return free;
  }
  int64_t BytesFor(int64_t tokens) const override { return Pages(tokens); }
  int64_t free_bytes() const override {
    return static_cast<int64_t>(free_.size());
  }
  int64_t total_bytes() const override { return options_.pages; }

  Result<std::vector<StepToken>> Tokens(const StepPlan& plan) override {
    std::set<int> seen;
    std::vector<StepToken> tokens;
    last_pieces_.clear();
    for (const StepPiece& piece : plan) {
      EXPECT_TRUE(seen.insert(piece.slot).second) << "twice in a step";
      Slot& s = At(piece.slot);
      const auto n = static_cast<int64_t>(piece.tokens.size());
      EXPECT_GT(n, 0);
      EXPECT_LE(s.length + n, options_.context);
      EXPECT_LE(Pages(s.length + n), static_cast<int64_t>(s.pages.size()))
          << "not reserved";
      EXPECT_GE(piece.total, s.length + n);
      for (int64_t p = s.length / options_.page; p < Pages(s.length + n); ++p) {
        EXPECT_EQ(holders_[s.pages[p]], 1) << "written while shared";
      }
      for (const int32_t t : piece.tokens) s.state = Next(s.state, t);
      s.length += n;
      s.state = Ended(s.state, s.length);
      tokens_run_ += n;
      last_pieces_.push_back(n);
      for (const Sampler* sampler : piece.samplers) {
        EXPECT_EQ(piece.total, s.length);
        tokens.push_back(Draw(s.state, sampler->options().seed));
      }
    }
    return tokens;
  }

  const std::vector<int64_t>& last_pieces() const { return last_pieces_; }
  int64_t tokens_run() const { return tokens_run_; }

  // Every page has as many holders as were counted, none is lost.
  void CheckOwners() const {
    std::vector<int> holders(options_.pages);
    for (const Slot& s : slots_) {
      EXPECT_TRUE(s.used || s.pages.empty());
      for (const int64_t p : s.pages) ++holders[p];
    }
    for (const Kept& k : kept_) {
      for (const int64_t p : k.slot.pages) ++holders[p];
    }
    EXPECT_EQ(holders, holders_);
    for (int64_t p = 0; p < options_.pages; ++p) {
      EXPECT_EQ(free_.contains(p), holders[p] == 0) << "page " << p;
    }
  }
  int64_t reused() const { return reused_; }
  // All has come back.
  void ExpectEmpty() {
    while (Forget()) continue;
    EXPECT_EQ(free_slots(), options_.slots);
    EXPECT_EQ(static_cast<int64_t>(free_.size()), options_.pages);
    EXPECT_TRUE(swapped_.empty());
    EXPECT_EQ(swapped_pages_, 0);
  }

 private:
  struct Slot {
    bool used = false;
    int64_t length = 0;
    uint64_t state = 0;
    std::vector<int64_t> pages;
  };
  struct Kept {
    std::vector<int32_t> tokens;
    std::vector<int64_t> cuts;
    int64_t exact = 0;
    Slot slot;
  };
  // The longest kept beginning; of an exact one the pieces are the same.
  const Kept* Best(const PrefixKey& key, Reuse reuse, int64_t* common) const {
    const Kept* best = nullptr;
    for (const Kept& kept : kept_) {
      const auto n = std::ranges::mismatch(kept.tokens, key.tokens).in1 -
                     kept.tokens.begin();
      *common = std::max<int64_t>(*common, n);
      const int64_t length = kept.slot.length;
      if (n < length || (best != nullptr && length <= best->slot.length)) {
        continue;
      }
      if (reuse == Reuse::kExact &&
          (kept.exact < length ||
           Cuts(kept.cuts, length) !=
               Cuts({key.cuts.begin(), key.cuts.end()}, length))) {
        continue;
      }
      best = &kept;
    }
    return best;
  }
  // Pieces of the first `length` tokens end there, off the grid.
  static std::vector<int64_t> Cuts(std::vector<int64_t> cuts, int64_t length) {
    std::erase_if(cuts, [&](int64_t at) { return at > length; });
    // The piece that led to a state ended with it.
    if (length % kGrid != 0 && (cuts.empty() || cuts.back() != length)) {
      cuts.push_back(-length);
    }
    return cuts;
  }
  int64_t Take() {
    const int64_t page = *free_.begin();
    free_.erase(free_.begin());
    EXPECT_EQ(holders_[page]++, 0);
    return page;
  }
  void Release(const std::vector<int64_t>& pages) {
    for (const int64_t p : pages) {
      if (--holders_[p] == 0) free_.insert(p);
    }
  }
  Slot& At(int slot) {
    CHECK(slots_.at(slot).used) << "slot " << slot;
    return slots_[slot];
  }
  const Slot& At(int slot) const {
    CHECK(slots_.at(slot).used) << "slot " << slot;
    return slots_[slot];
  }
  int64_t Pages(int64_t tokens) const {
    return (tokens + options_.page - 1) / options_.page;
  }

  Options options_;
  std::set<int64_t> free_;
  std::vector<int> holders_;  // by page
  std::vector<Kept> kept_;    // the oldest goes first
  int64_t reused_ = 0;
  std::vector<Slot> slots_;
  std::map<int64_t, Slot> swapped_;
  int64_t next_ticket_ = 0, swapped_pages_ = 0, tokens_run_ = 0;
  std::vector<int64_t> last_pieces_;
};

}  // namespace intarsia
