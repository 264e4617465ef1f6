// A runner without a model, for tests of the scheduler: it keeps books of slots
// and pages, and its state is a hash of the tokens seen.
#pragma once

#include <gtest/gtest.h>

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
  };
  explicit FakeRunner(const Options& options) : options_(options) {
    for (int64_t p = 0; p < options.pages; ++p) free_.insert(p);
    slots_.resize(options.slots);
  }

  static uint64_t Next(uint64_t state, int32_t token) {
    state = (state ^ static_cast<uint64_t>(token + 1)) * 0xD6E8FEB86659FD93ULL;
    return state ^ (state >> 29);
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
    for (const int64_t p : s.pages) EXPECT_TRUE(free_.insert(p).second);
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
  bool Reserve(int slot, int64_t tokens) override {
    Slot& s = At(slot);
    const int64_t need = Pages(tokens) - static_cast<int64_t>(s.pages.size());
    if (need > static_cast<int64_t>(free_.size())) return false;
    for (int64_t i = 0; i < need; ++i) {
      s.pages.push_back(*free_.begin());
      free_.erase(free_.begin());
    }
    return true;
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
      for (const int32_t t : piece.tokens) s.state = Next(s.state, t);
      s.length += n;
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

  // No page has two owners, none is lost.
  void CheckOwners() const {
    std::set<int64_t> all = free_;
    for (const Slot& s : slots_) {
      EXPECT_TRUE(s.used || s.pages.empty());
      for (const int64_t p : s.pages) {
        EXPECT_TRUE(all.insert(p).second) << "page " << p << " twice";
      }
    }
    EXPECT_EQ(static_cast<int64_t>(all.size()), options_.pages);
  }
  // All has come back.
  void ExpectEmpty() const {
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
  std::vector<Slot> slots_;
  std::map<int64_t, Slot> swapped_;
  int64_t next_ticket_ = 0, swapped_pages_ = 0, tokens_run_ = 0;
  std::vector<int64_t> last_pieces_;
};

}  // namespace intarsia
