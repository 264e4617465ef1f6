// The scheduler over a fake runner whose "model" is a hash of the tokens that
// its state has seen: a token of somebody else's, a lost one or one too many
// changes every token that follows.
#include "intarsia/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "intarsia/core/random.h"
#include "intarsia/engine/fake_runner.h"

namespace intarsia {
namespace {

using Finish = Generation::Finish;
using Tokens = std::vector<int32_t>;

struct Answer {
  Tokens tokens;
  std::optional<Finish> finish;
  Status error;
};

// What a request must be answered with, computed alone.
struct Expected {
  Tokens tokens;
  Finish finish = Finish::kLength;
  bool early = false;  // the context ended it
};

Expected Alone(const Request& request, uint64_t seed, int64_t context,
               uint64_t state = 0, int64_t seen = 0) {
  Expected out;
  for (const int32_t t : request.prompt) state = FakeRunner::Next(state, t);
  seen += static_cast<int64_t>(request.prompt.size());
  out.early = seen > context;
  while (!out.early) {
    const StepToken token = FakeRunner::Draw(state, seed);
    if (!token.error.ok()) {
      out.finish = Finish::kError;
      return out;
    }
    if (std::ranges::count(request.stop_ids, token.id) > 0) {
      out.finish = Finish::kStop;
      return out;
    }
    out.tokens.push_back(token.id);
    if (static_cast<int>(out.tokens.size()) >= request.max_tokens) return out;
    if (seen + 1 > context) {
      out.early = true;
      return out;
    }
    state = FakeRunner::Next(state, token.id);
    ++seen;
  }
  return out;
}

Request Simple(size_t prompt, int max_tokens, int32_t first = 1) {
  Request request;
  for (size_t i = 0; i < prompt; ++i) {
    request.prompt.push_back(
        static_cast<int32_t>((first + i * 7) % FakeRunner::kVocab));
  }
  request.max_tokens = max_tokens;
  return request;
}

// Runs to the end; answers by id.
std::map<int64_t, Answer> Drain(Scheduler& scheduler, int64_t most = 100000) {
  std::map<int64_t, Answer> answers;
  while (scheduler.busy()) {
    CHECK_GT(most--, 0) << "no end";
    std::vector<Scheduler::Event> events;
    scheduler.Step(&events);
    for (const auto& event : events) {
      Answer& answer = answers[event.id];
      EXPECT_FALSE(answer.finish.has_value()) << "after its end";
      if (event.kind == Scheduler::Event::Kind::kToken) {
        answer.tokens.push_back(event.token);
      } else {
        answer.finish = event.finish;
        answer.error = event.error;
      }
    }
  }
  return answers;
}

TEST(SchedulerTest, PromptsAndDecodeShareAStep) {
  FakeRunner runner({.slots = 4, .pages = 64, .page = 64, .context = 4096});
  Scheduler scheduler(runner, {.step_tokens = 256});
  const int64_t a = *scheduler.Submit(Simple(3, 50, 5));
  std::vector<Scheduler::Event> events;
  EXPECT_EQ(scheduler.Step(&events).prompt_tokens, 3);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, a);
  // Two prompts share the 255 that the decoding one leaves, in pieces of the
  // grid; the shorter one is through.
  const int64_t b = *scheduler.Submit(Simple(1000, 4, 9));
  const int64_t c = *scheduler.Submit(Simple(100, 4, 11));
  Scheduler::Work work = scheduler.Step(&events);
  EXPECT_EQ(work.decode_tokens, 1);
  EXPECT_EQ(work.prompt_tokens, 128 + 100);
  EXPECT_EQ(runner.last_pieces(), (std::vector<int64_t>{1, 128, 100}));
  EXPECT_EQ(events.back().id, c);  // its first token, long before b's
  const auto answers = Drain(scheduler);
  EXPECT_EQ(*answers.at(b).finish, Finish::kLength);
  EXPECT_EQ(answers.at(b).tokens, Alone(Simple(1000, 4, 9), 0, 4096).tokens);
  runner.ExpectEmpty();
}

TEST(SchedulerTest, AFullContextEndsOneRequest) {
  FakeRunner runner({.slots = 2, .pages = 8, .page = 16, .context = 40});
  Scheduler scheduler(runner, {});
  const Request longer = Simple(30, 100), shorter = Simple(5, 20, 3);
  const int64_t a = *scheduler.Submit(longer), b = *scheduler.Submit(shorter);
  EXPECT_FALSE(scheduler.Submit(Simple(41, 1)).ok());
  const auto answers = Drain(scheduler);
  EXPECT_EQ(answers.at(a).tokens.size(), 11u);
  EXPECT_EQ(*answers.at(a).finish, Finish::kLength);
  EXPECT_FALSE(answers.at(a).error.ok());
  EXPECT_EQ(answers.at(b).tokens, Alone(shorter, 0, 40).tokens);
  EXPECT_TRUE(answers.at(b).error.ok());
  runner.ExpectEmpty();
}

TEST(SchedulerTest, PriorityOvertakesWithinItsBound) {
  for (const int64_t wait : {3, 30}) {
    FakeRunner runner({.slots = 1, .pages = 8, .page = 64, .context = 512});
    Scheduler scheduler(runner, {.aging = 10});
    const int64_t a = *scheduler.Submit(Simple(4, 60));
    std::vector<Scheduler::Event> events;
    for (int64_t i = 0; i < wait; ++i) scheduler.Step(&events);
    Request urgent = Simple(4, 5, 2);
    urgent.priority = 1;
    const int64_t b = *scheduler.Submit(urgent);
    events.clear();
    std::vector<int64_t> ends;
    while (scheduler.busy()) {
      scheduler.Step(&events);
      for (const auto& event : events) {
        if (event.kind == Scheduler::Event::Kind::kEnd) {
          ends.push_back(event.id);
        }
      }
      events.clear();
    }
    // Ten steps is what one level is worth.
    EXPECT_EQ(ends, wait < 10 ? (std::vector<int64_t>{b, a})
                              : (std::vector<int64_t>{a, b}));
    runner.ExpectEmpty();
  }
}

TEST(SchedulerTest, AnswersOfOneRequestShareItsPrompt) {
  for (const int slots : {1, 2, 4}) {
    FakeRunner runner(
        {.slots = slots, .pages = 64, .page = 64, .context = 512});
    Scheduler scheduler(runner, {});
    Request request = Simple(150, 6);
    request.n = 4;
    request.sampling.seed = 40;
    const int64_t id = *scheduler.Submit(request);
    const auto answers = Drain(scheduler);
    ASSERT_EQ(answers.size(), 4u);
    for (int64_t i = 0; i < 4; ++i) {
      const Expected expected = Alone(request, 40 + i, 512);
      EXPECT_EQ(answers.at(id + i).tokens, expected.tokens) << i;
      EXPECT_EQ(*answers.at(id + i).finish, expected.finish) << i;
    }
    runner.ExpectEmpty();
  }
}

TEST(SchedulerTest, ACancelledLeaderLeavesThePromptToItsSiblings) {
  FakeRunner runner({.slots = 4, .pages = 64, .page = 64, .context = 512});
  Scheduler scheduler(runner, {.step_tokens = 64});
  Request request = Simple(200, 6);
  request.n = 3;
  const int64_t id = *scheduler.Submit(request);
  std::vector<Scheduler::Event> events;
  scheduler.Step(&events);
  EXPECT_TRUE(scheduler.Cancel(id));
  EXPECT_FALSE(scheduler.Cancel(id));
  EXPECT_TRUE(scheduler.Cancel(id + 2));
  const auto answers = Drain(scheduler);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers.at(id + 1).tokens, Alone(request, 1, 512).tokens);
  EXPECT_EQ(runner.tokens_run(), 200 + 5);  // the prompt ran once
  runner.ExpectEmpty();
}

TEST(SchedulerTest, ASequenceOfTheCallersKeepsItsSlot) {
  FakeRunner runner({.slots = 1, .pages = 4, .page = 16, .context = 64});
  const int slot = runner.Open();
  {
    Scheduler scheduler(runner, {});
    Request request = Simple(8, 4);
    request.slot = slot;
    const int64_t a = *scheduler.Submit(request);
    // Nothing else finds a slot until the end, and then it is told so.
    const int64_t b = *scheduler.Submit(Simple(3, 3));
    const auto answers = Drain(scheduler);
    EXPECT_EQ(answers.at(a).tokens, Alone(request, 0, 64).tokens);
    EXPECT_EQ(*answers.at(b).finish, Finish::kError);
    EXPECT_EQ(answers.at(b).error.code(), StatusCode::kUnavailable);
  }
  EXPECT_EQ(runner.length(slot), 8 + 3);
  runner.Close(slot);
  runner.ExpectEmpty();
}

TEST(SchedulerTest, WhatNeverFitsIsRefused) {
  FakeRunner runner({.slots = 2, .pages = 2, .page = 16, .context = 512});
  Scheduler scheduler(runner, {});
  EXPECT_EQ(scheduler.Submit(Simple(33, 1)).status().code(),
            StatusCode::kUnavailable);
  // It fits at first; what was said so far stands.
  const int64_t id = *scheduler.Submit(Simple(20, 100));
  const auto answers = Drain(scheduler);
  EXPECT_EQ(answers.at(id).tokens.size(), 13u);
  EXPECT_EQ(*answers.at(id).finish, Finish::kLength);
  EXPECT_EQ(answers.at(id).error.code(), StatusCode::kUnavailable);
  Request bad = Simple(1, 1);
  bad.prompt[0] = FakeRunner::kVocab;
  EXPECT_FALSE(scheduler.Submit(bad).ok());
  bad = Simple(1, 1);
  bad.prompt.clear();
  EXPECT_FALSE(scheduler.Submit(bad).ok());
  bad = Simple(1, 1);
  bad.priority = 101;
  EXPECT_FALSE(scheduler.Submit(bad).ok());
  runner.ExpectEmpty();
}

// Random events, and after each step the promises.
class Chaos {
 public:
  Chaos(uint64_t seed, bool callers)
      : random_(seed, 77),
        callers_(callers),
        runner_({.slots = 5,
                 .pages = 14,
                 .page = 16,
                 .context = 160,
                 .swap_pages = seed % 3 == 0 ? 0 : 9}),
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
    live.expected = Alone(rest, seed, 160, parent.state, parent.seen);
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
    // The promise against starvation.
    if (const auto it = live_.find(first); it != live_.end() && !callers_) {
      Live& live = it->second;
      const auto prompt = static_cast<int64_t>(live.request.prompt.size());
      EXPECT_LE(++live.first_steps,
                (prompt + Runner::kGrid - 1) / Runner::kGrid + 1 +
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
