// The scheduler over a fake runner whose "model" is a hash of the tokens that
// its state has seen: a token of somebody else's, a lost one or one too many
// changes every token that follows.
#include <gtest/gtest.h>

#include "intarsia/engine/scheduler_testing.h"

namespace intarsia {
namespace {

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

TEST(SchedulerTest, APromptGoesOnFromWhereAnEarlierOneStood) {
  FakeRunner runner(
      {.slots = 2, .pages = 64, .page = 16, .context = 1000, .kept = 20});
  Scheduler scheduler(runner, {});
  const auto ask = [&](const Request& request, Answer* answer) {
    const int64_t before = runner.tokens_run();
    const int64_t id = *scheduler.Submit(request);
    *answer = Drain(scheduler).at(id);
    EXPECT_EQ(answer->tokens, Alone(request, 0, 1000).tokens);
    return runner.tokens_run() - before - std::ssize(answer->tokens) + 1;
  };
  Answer answer;
  Request request = Simple(150, 5);
  EXPECT_EQ(ask(request, &answer), 150);
  EXPECT_EQ(answer.prefix.why, PrefixMatch::Why::kUnknown);
  EXPECT_EQ(ask(request, &answer), 150 - 128);  // the same once more
  EXPECT_EQ(answer.prefix.tokens, 128);
  EXPECT_EQ(scheduler.counts().reused, 128);
  // One that goes on; its end is known where it says that a message ends there.
  Request longer = request;
  longer.prompt.resize(200, 3);
  EXPECT_EQ(ask(longer, &answer), 200 - 128);
  longer.boundaries = {150};
  EXPECT_EQ(ask(longer, &answer), 50);
  // Two that part: the second one leaves its state there for a third.
  Request other = request;
  for (size_t i = 100; i < 150; ++i) other.prompt[i] = 1;
  EXPECT_EQ(ask(other, &answer), 150);
  EXPECT_EQ(answer.prefix.common, 100);
  for (size_t i = 100; i < 150; ++i) other.prompt[i] = 2;
  EXPECT_EQ(ask(other, &answer), 150 - 64);
  other.reuse = Reuse::kNone;
  EXPECT_EQ(ask(other, &answer), 150);
  // With kAll the answer serves what follows it.
  request.reuse = Reuse::kAll;
  EXPECT_EQ(ask(request, &answer), 150 - 128);
  Request next = request;
  next.prompt.insert(next.prompt.end(), answer.tokens.begin(),
                     answer.tokens.end());
  next.prompt.resize(180, 7);
  const int64_t before = runner.tokens_run();
  next.max_tokens = 1;
  scheduler.Submit(next).value();
  Drain(scheduler);
  EXPECT_EQ(runner.tokens_run() - before,
            180 - (150 + std::ssize(answer.tokens) - 1));
  Request bad = Simple(10, 1);
  bad.boundaries = {4, 4};
  EXPECT_FALSE(scheduler.Submit(bad).ok());
  bad.boundaries = {11};
  EXPECT_FALSE(scheduler.Submit(bad).ok());
  runner.ExpectEmpty();
}

}  // namespace
}  // namespace intarsia
