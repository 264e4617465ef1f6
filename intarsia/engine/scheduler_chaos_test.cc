// Random events over a fake runner, and after each step the promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "intarsia/core/random.h"
#include "intarsia/engine/scheduler_testing.h"

namespace intarsia {
namespace {

class Chaos {
 public:
  Chaos(uint64_t seed, bool callers, int64_t kept = 0)
      : random_(seed, 77),
        callers_(callers),
        kept_(kept),
        runner_({.slots = 5,
                 .pages = 14,
                 .page = 16,
                 .context = 160,
                 .swap_pages = seed % 3 == 0 ? 0 : 9,
                 .kept = kept}),
        scheduler_(runner_, {.step_tokens = 96, .aging = 20}) {}

  void Run(int64_t events) {
    while (events_ < events && !testing::Test::HasFailure()) Event();
    while (scheduler_.busy() && !testing::Test::HasFailure()) Step();
    for (const auto& [id, live] : live_) ADD_FAILURE() << id << " never ended";
    for (const int slot : idle_) runner_.Close(slot);
    runner_.ExpectEmpty();
  }

  int64_t events() const { return events_; }
  int64_t ended() const { return ended_; }
  uint64_t schedule() const { return schedule_; }
  Scheduler::Counts counts() const { return scheduler_.counts(); }
  int64_t reused() const { return runner_.reused(); }

 private:
  struct Live {
    Request request;
    uint64_t seed = 0, state = 0;  // the state before the prompt
    int64_t seen = 0;              // and the tokens that it has seen
    Rank rank;
    Tokens tokens;  // of the answer
    Expected expected;
    int64_t first_steps = 0;  // in which it was the first in the order
  };

  uint32_t Below(uint32_t n) { return random_.NextBelow(n); }

  void Event() {
    switch (Below(10)) {
      case 0:
      case 1:
        if (live_.size() < 12) Arrive();
        break;
      case 2:
        if (Below(3) == 0) Cancel();
        break;
      case 3:
        if (const int64_t id = Any(); id >= 0) {
          // What we took from it isn't held against the scheduler.
          if (scheduler_.Preempt(id)) live_.at(id).first_steps = 0;
          ++events_;
        }
        break;
      case 4:
        if (live_.size() < 12) Fork();
        break;
      default:
        Step();
    }
    runner_.CheckOwners();
  }

  int64_t Any() {
    if (live_.empty()) return -1;
    auto it = live_.begin();
    std::advance(it, Below(static_cast<uint32_t>(live_.size())));
    return it->first;
  }

  void Arrive() {
    Request request = Simple(1 + Below(Below(4) == 0 ? 150 : 30),
                             1 + static_cast<int>(Below(40)),
                             static_cast<int32_t>(Below(FakeRunner::kVocab)));
    request.sampling.seed = Below(1000);
    if (kept_ > 0) {
      // A few beginnings, at which prompts part.
      const Request other =
          Simple(Below(4) * 20, 1, static_cast<int32_t>(Below(3)));
      std::copy_n(other.prompt.begin(),
                  std::min(other.prompt.size(), request.prompt.size()),
                  request.prompt.begin());
      for (const int64_t at : {20, 40, 60, 77}) {
        if (Below(3) == 0 && at <= std::ssize(request.prompt)) {
          request.boundaries.push_back(at);
        }
      }
      if (Below(8) == 0) request.reuse = Reuse::kNone;
    }
    request.priority = static_cast<int>(Below(5)) - 2;
    request.stop_ids = {static_cast<int32_t>(Below(FakeRunner::kVocab))};
    uint64_t state = 0;
    int64_t seen = 0;
    if (callers_ && Below(4) == 0) {
      if (idle_.size() < 2 && runner_.free_slots() > 2) {
        idle_.push_back(runner_.Open());
      }
      if (idle_.empty()) return;
      request.slot = idle_.back();
      idle_.pop_back();
      state = runner_.state(request.slot);
      seen = runner_.length(request.slot);
    } else if (Below(4) == 0) {
      request.n = 2 + static_cast<int>(Below(3));
    }
    const Result<int64_t> id = scheduler_.Submit(request);
    ++events_;
    if (!id.ok()) {
      EXPECT_GT(seen + static_cast<int64_t>(request.prompt.size()),
                std::min<int64_t>(160, 14 * 16));
      if (request.slot >= 0) runner_.Close(request.slot);
      return;
    }
    for (int i = 0; i < request.n; ++i) {
      Live live;
      live.request = request;
      live.seed = request.sampling.seed + static_cast<uint64_t>(i);
      live.rank = {steps_ - request.priority * 20, *id + i};
      live.state = state;
      live.seen = seen;
      live.expected = Alone(request, live.seed, 160, state, seen);
      live_.emplace(*id + i, std::move(live));
    }
  }

  void Cancel() {
    const int64_t id = Any();
    if (id < 0) return;
    EXPECT_TRUE(scheduler_.Cancel(id));
    ++events_;
    Gone(id);
  }

  void Fork() {
    const int64_t id = Any();
    if (id < 0) return;
    const uint64_t seed = Below(1000);
    const Result<int64_t> copy = scheduler_.Fork(id, seed);
    ++events_;
    const Live& parent = live_.at(id);
    if (!copy.ok()) {
      EXPECT_TRUE(parent.tokens.empty() || parent.seen > 0);
      return;
    }
    Live live = parent;
    live.seed = seed;
    live.rank.id = *copy;
    live.request.slot = -1;
    live.first_steps = 0;
    // What was said before counts as its prompt.
    Request rest = parent.request;
    rest.prompt.insert(rest.prompt.end(), parent.tokens.begin(),
                       parent.tokens.end());
    rest.max_tokens -= static_cast<int>(parent.tokens.size());
    live.expected =
        Alone(rest, seed, 160, parent.state, parent.seen, parent.tokens.size());
    live.expected.tokens.insert(live.expected.tokens.begin(),
                                parent.tokens.begin(), parent.tokens.end());
    live_.emplace(*copy, std::move(live));
  }

  void Step() {
    const int64_t first = First();
    std::vector<Scheduler::Event> events;
    const Scheduler::Work work = scheduler_.Step(&events);
    ++steps_;
    ++events_;
    EXPECT_LE(work.prompt_tokens + work.decode_tokens + work.again_tokens,
              96 + Runner::kGrid);
    // The promise against starvation, of those that nobody more urgent takes
    // the first place from.
    for (auto& [id, live] : live_) {
      if (id != first) live.first_steps = 0;
    }
    if (const auto it = live_.find(first); it != live_.end() && !callers_) {
      Live& live = it->second;
      const auto prompt = static_cast<int64_t>(live.request.prompt.size());
      EXPECT_LE(++live.first_steps,
                (prompt + Runner::kGrid - 1) / Runner::kGrid + 1 +
                    std::ssize(live.request.boundaries) +
                    live.request.max_tokens);
    }
    Mix(static_cast<uint64_t>(work.prompt_tokens * 1000 + work.decode_tokens));
    for (const auto& event : events) Take(event);
  }

  // The first in the order of those that are there.
  int64_t First() const {
    const Live* first = nullptr;
    for (const auto& [id, live] : live_) {
      if (first == nullptr || live.rank < first->rank) first = &live;
    }
    return first != nullptr ? first->rank.id : -1;
  }

  void Take(const Scheduler::Event& event) {
    Mix(static_cast<uint64_t>(event.id * 131 + event.token));
    const auto it = live_.find(event.id);
    ASSERT_NE(it, live_.end()) << event.id << " had ended";
    Live& live = it->second;
    if (event.kind == Scheduler::Event::Kind::kStart) {
      EXPECT_LE(event.prefix.tokens, std::ssize(live.request.prompt));
      return;
    }
    if (event.kind == Scheduler::Event::Kind::kToken) {
      live.tokens.push_back(event.token);
      return;
    }
    ++events_;
    ++ended_;
    const Expected& expected = live.expected;
    if (event.error.code() == StatusCode::kUnavailable) {
      // Others' memory: the answer is a beginning of what it would have been.
      EXPECT_TRUE(callers_);
      ASSERT_LE(live.tokens.size(), expected.tokens.size());
      EXPECT_TRUE(std::equal(live.tokens.begin(), live.tokens.end(),
                             expected.tokens.begin()));
    } else {
      EXPECT_EQ(live.tokens, expected.tokens) << event.id;
      EXPECT_EQ(event.finish, expected.finish) << event.id;
      EXPECT_EQ(!event.error.ok(),
                expected.early || expected.finish == Finish::kError);
    }
    Gone(event.id);
  }

  void Gone(int64_t id) {
    const auto it = live_.find(id);
    const int slot = it->second.request.slot;
    if (slot >= 0 && Below(2) == 0 && runner_.length(slot) < 60) {
      idle_.push_back(slot);
    } else if (slot >= 0) {
      runner_.Close(slot);
    }
    live_.erase(it);
  }

  void Mix(uint64_t x) { schedule_ = (schedule_ ^ x) * 0x9E3779B97F4A7C15ULL; }

  Random random_;
  bool callers_;
  int64_t kept_;
  FakeRunner runner_;
  Scheduler scheduler_;
  std::map<int64_t, Live> live_;
  std::vector<int> idle_;  // slots of the caller's, without a request
  int64_t steps_ = 0, events_ = 0, ended_ = 0;
  uint64_t schedule_ = 1;
};

TEST(SchedulerTest, RandomEventsBreakNoPromise) {
  int64_t events = 0, ended = 0, preemptions = 0, swaps = 0;
  for (uint64_t seed = 1; seed <= 40 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Chaos chaos(seed, /*callers=*/false);
    chaos.Run(3000);
    events += chaos.events();
    ended += chaos.ended();
    preemptions += chaos.counts().preemptions;
    swaps += chaos.counts().swaps;
  }
  EXPECT_GE(events, 100000);
  EXPECT_GT(ended, 5000);
  EXPECT_GT(swaps, 500);
  EXPECT_GT(preemptions, swaps + 500);
}

TEST(SchedulerTest, RandomEventsWithSequencesOfCallers) {
  for (uint64_t seed = 101; seed <= 130 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Chaos(seed, /*callers=*/true).Run(2000);
  }
}

// What is kept for others changes no answer, takes no memory that somebody
// needs and starves nobody.
TEST(SchedulerTest, RandomEventsWithReuse) {
  int64_t events = 0, reused = 0, preemptions = 0;
  for (uint64_t seed = 201; seed <= 250 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Chaos chaos(seed, /*callers=*/seed % 4 == 0,
                /*kept=*/1 + static_cast<int64_t>(seed % 5) * 4);
    chaos.Run(2500);
    events += chaos.events();
    reused += chaos.reused();
    preemptions += chaos.counts().preemptions;
  }
  EXPECT_GE(events, 100000);
  EXPECT_GT(reused, 50000);
  EXPECT_GT(preemptions, 1000);
}

TEST(SchedulerTest, TheSameCallsGiveTheSameSchedule) {
  Chaos a(7, false), b(7, false), c(8, false);
  a.Run(1000);
  b.Run(1000);
  c.Run(1000);
  EXPECT_EQ(a.schedule(), b.schedule());
  EXPECT_NE(a.schedule(), c.schedule());
}

}  // namespace
}  // namespace intarsia
