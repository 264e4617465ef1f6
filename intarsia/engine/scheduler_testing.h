// What tests of the scheduler over a fake runner share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "intarsia/engine/fake_runner.h"
#include "intarsia/engine/scheduler.h"

namespace intarsia {

using Finish = Generation::Finish;
using Tokens = std::vector<int32_t>;

struct Answer {
  Tokens tokens;
  std::optional<Finish> finish;
  Status error;
  PrefixMatch prefix;
};

// Of a whole prompt, in the pieces that it is cut into, whoever runs beside it:
// its last `said` tokens were those of an answer.
inline uint64_t StateOf(const Request& request, uint64_t state, int64_t seen,
                        size_t said) {
  const size_t prompt = request.prompt.size() - said;
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    state = FakeRunner::Next(state, request.prompt[i]);
    ++seen;
    if (i + 1 >= prompt ||
        std::ranges::count(request.boundaries, static_cast<int64_t>(i) + 1)) {
      state = FakeRunner::Ended(state, seen);
    }
  }
  return state;
}

// What a request must be answered with, computed alone.
struct Expected {
  Tokens tokens;
  Finish finish = Finish::kLength;
  bool early = false;  // the context ended it
};

inline Expected Alone(const Request& request, uint64_t seed, int64_t context,
                      uint64_t state = 0, int64_t seen = 0, size_t said = 0) {
  Expected out;
  state = StateOf(request, state, seen, said);
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
    state = FakeRunner::Ended(FakeRunner::Next(state, token.id), ++seen);
  }
  return out;
}

inline Request Simple(size_t prompt, int max_tokens, int32_t first = 1) {
  Request request;
  for (size_t i = 0; i < prompt; ++i) {
    request.prompt.push_back(
        static_cast<int32_t>((first + i * 7) % FakeRunner::kVocab));
  }
  request.max_tokens = max_tokens;
  return request;
}

// Runs to the end; answers by id.
inline std::map<int64_t, Answer> Drain(Scheduler& scheduler,
                                       int64_t most = 100000) {
  std::map<int64_t, Answer> answers;
  while (scheduler.busy()) {
    CHECK_GT(most--, 0) << "no end";
    std::vector<Scheduler::Event> events;
    scheduler.Step(&events);
    for (const auto& event : events) {
      Answer& answer = answers[event.id];
      EXPECT_FALSE(answer.finish.has_value()) << "after its end";
      if (event.kind == Scheduler::Event::Kind::kStart) {
        answer.prefix = event.prefix;
        continue;
      }
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

}  // namespace intarsia
