// Rows of the state matrix about what earlier sequences leave: a prefix hit, a
// slot used again after a cancel, preempted, forked. An answer has the bits
// that it has alone.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "intarsia/core/random.h"
#include "intarsia/engine/engine.h"
#include "intarsia/engine/scheduler.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;
using Why = PrefixMatch::Why;

const Model& ModelOf(const std::string& name) {
  static std::map<std::string, OpenedModel> opened;
  auto it = opened.find(name);
  if (it == opened.end()) {
    auto result = OpenModel("tests/golden/" + name, {});
    CHECK(result.ok()) << result.status().message();
    it = opened.emplace(name, std::move(result).value()).first;
  }
  return it->second.model();
}

class PrefixReuseTest : public testing::TestWithParam<const char*> {
 protected:
  const Model& model() const { return ModelOf(GetParam()); }
  static ModelRunner::Options Options(int64_t prefix_bytes) {
    ModelRunner::Options options;
    options.threads = 2;
    options.sequences = 4;
    options.context = 320;
    options.prefix_bytes = prefix_bytes;
    return options;
  }
  static constexpr int64_t kMuch = int64_t{1} << 28;

  Tokens RandomTokens(size_t n, uint64_t seed) const {
    Random random(seed, 5);
    Tokens tokens(n);
    for (int32_t& t : tokens) {
      t = static_cast<int32_t>(
          random.NextBelow(static_cast<uint32_t>(model().config().vocab_size)));
    }
    return tokens;
  }
  // Random draws from all of the distribution: a changed bit shows soon.
  Request Ask(Tokens prompt, uint64_t seed) const {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling = {.temperature = 1.0f,
                        .top_k = 0,
                        .top_p = 1.0f,
                        .min_p = 0.0f,
                        .repeat_penalty = 1.0f,
                        .seed = seed};
    request.max_tokens = 12;
    return request;
  }
  Tokens Alone(const Request& request) const {
    ModelRunner runner(model(), Options(0));
    return Generate(runner, {request}, nullptr).value()[0].tokens;
  }
  Generation Say(ModelRunner& runner, const Request& request) const {
    return Generate(runner, {request}, nullptr).value()[0];
  }
};

INSTANTIATE_TEST_SUITE_P(
    Models, PrefixReuseTest,
    testing::Values("llama", "mistral_swa", "gemma2", "mixtral", "mamba2",
                    "retnet", "granite4_hybrid", "falcon_h1", "zamba2", "tiny"),
    [](const auto& test) { return std::string(test.param); });

TEST_P(PrefixReuseTest, AHitHasTheLogitsOfARunOfItsOwn) {
  const Tokens prompt = RandomTokens(200, 1), rest = RandomTokens(5, 2);
  const std::span<const int32_t> all(prompt);
  const auto run = [](ModelRunner& runner, int slot,
                      std::span<const int32_t> tokens) {
    auto logits = runner.Run({{slot, tokens}}, /*all_rows=*/true);
    CHECK(logits.ok()) << logits.status().message();
    return logits->ToVector<float>();
  };
  ModelRunner cold(model(), Options(0));
  const int a = cold.Open();
  const Logits expected = run(cold, a, all);
  Logits after;
  for (const int32_t& token : rest) {
    const Logits row = run(cold, a, {&token, 1});
    after.insert(after.end(), row.begin(), row.end());
  }

  ModelRunner warm(model(), Options(kMuch));
  const int first = warm.Open(), second = warm.Open();
  run(warm, first, all.first(128));
  warm.Remember(first, {.tokens = all.first(128), .exact = 128});
  run(warm, first, all.subspan(128, 22));
  const PrefixMatch match =
      warm.Resume(second, {.tokens = all.first(199)}, 200, Reuse::kExact);
  EXPECT_EQ(match.tokens, 128);
  EXPECT_EQ(match.why, Why::kDiverged);
  EXPECT_EQ(warm.length(second), 128);
  const Logits got = run(warm, second, all.subspan(128));
  const size_t vocab = expected.size() / 200;
  ASSERT_EQ(got.size(), 72 * vocab);
  EXPECT_EQ(std::memcmp(got.data(), expected.data() + 128 * vocab,
                        got.size() * sizeof(float)),
            0);
  Logits later;
  for (const int32_t& token : rest) {
    run(warm, first, {&token, 1});  // who left it goes on beside it
    const Logits row = run(warm, second, {&token, 1});
    later.insert(later.end(), row.begin(), row.end());
  }
  EXPECT_EQ(later, after);
}

TEST_P(PrefixReuseTest, AnswersAreThoseOfFreshRunners) {
  const Tokens base = RandomTokens(150, 3);
  const auto with = [&](size_t shared, size_t more, uint64_t seed) {
    Tokens tokens(base.begin(), base.begin() + static_cast<long>(shared));
    const Tokens rest = RandomTokens(more, seed);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    return tokens;
  };
  std::vector<Request> requests = {
      Ask(base, 1),              // nothing is known
      Ask(base, 2),              // all of it, up to the grid
      Ask(with(100, 60, 4), 3),  // parts at 100
      Ask(with(100, 70, 5), 4),  // the same, where a state was left by now
      Ask(with(150, 40, 6), 5),  // goes on from the first one's end
      Ask(with(90, 3, 7), 6),
      Ask(RandomTokens(20, 8), 7)};
  requests[4].boundaries = {150};  // and says so
  const std::vector<int64_t> at_least = {0, 128, 64, 64, 150, 64, 0};
  ModelRunner runner(model(), Options(kMuch));
  for (size_t i = 0; i < requests.size(); ++i) {
    GenerateStats stats;
    const Generation answer =
        Generate(runner, {requests[i]}, nullptr, &stats).value()[0];
    EXPECT_EQ(answer.tokens, Alone(requests[i])) << i;
    const auto size = static_cast<int64_t>(requests[i].prompt.size());
    EXPECT_EQ(stats.reused_tokens, answer.prefix.tokens) << i;
    EXPECT_EQ(stats.prompt_tokens + stats.reused_tokens, size) << i;
    // Attention alone finds its entries wherever two part; others leave a state
    // there for the next one.
    if (i == 2 && !runner.pool().truncates()) {
      EXPECT_EQ(answer.prefix.tokens, 0);
      EXPECT_EQ(answer.prefix.common, 100);
      EXPECT_EQ(answer.prefix.why, Why::kNoState);
    } else {
      EXPECT_EQ(answer.prefix.tokens, at_least[i]) << i;
    }
  }
  EXPECT_EQ(runner.pool().free_slots(), 4);
}

TEST_P(PrefixReuseTest, AllAtOnceForkedCancelledAndPreempted) {
  const Tokens base = RandomTokens(140, 9);
  std::vector<Request> requests;
  for (uint64_t i = 0; i < 6; ++i) {
    Tokens prompt(base.begin(), base.begin() + 70 + static_cast<long>(i) * 14);
    const Tokens rest = RandomTokens(10 + i, 20 + i);
    prompt.insert(prompt.end(), rest.begin(), rest.end());
    requests.push_back(Ask(prompt, 100 * i));
    requests.back().boundaries = {30, 70};
  }
  requests[1].n = 3;
  std::map<int64_t, Tokens> expected;
  ModelRunner::Options options = Options(kMuch);
  options.sequences = 3;
  options.swap_bytes = 0;  // what is preempted is computed again
  ModelRunner runner(model(), options);
  for (int round = 0; round < 2; ++round) {
    Scheduler scheduler(runner, {.step_tokens = 128});
    std::map<int64_t, Tokens> answers;
    expected.clear();
    for (const Request& request : requests) {
      const int64_t id = *scheduler.Submit(request);
      for (int k = 0; k < request.n; ++k) {
        Request one = request;
        one.n = 1;
        one.sampling.seed += static_cast<uint64_t>(k);
        expected[id + k] = Alone(one);
      }
    }
    const int64_t cancelled = *scheduler.Submit(Ask(base, 7));
    int steps = 0;
    while (scheduler.busy()) {
      std::vector<Scheduler::Event> events;
      scheduler.Step(&events);
      ++steps;
      if (steps == 4) {
        EXPECT_TRUE(scheduler.Cancel(cancelled));
      }
      if (steps % 5 == 0 && steps <= 30) {
        for (const auto& [id, tokens] : expected) {
          if (scheduler.Preempt(id)) break;
        }
      }
      for (const auto& event : events) {
        if (event.kind == Scheduler::Event::Kind::kToken) {
          answers[event.id].push_back(event.token);
        }
      }
      ASSERT_LT(steps, 10000);
    }
    answers.erase(cancelled);
    EXPECT_EQ(answers, expected);
    EXPECT_GT(scheduler.counts().preemptions, 0);
    EXPECT_GT(scheduler.counts().reused, 0);
  }
  EXPECT_EQ(runner.pool().free_slots(), 3);
}

TEST_P(PrefixReuseTest, ASlotAfterACancelIsAsFresh) {
  const Tokens prompt = RandomTokens(150, 30);
  ModelRunner::Options options = Options(kMuch);
  options.sequences = 1;
  options.prefill_chunk = 64;
  ModelRunner runner(model(), options);
  int asked = 0;
  const auto part = Generate(runner, {Ask(prompt, 1)}, nullptr, nullptr, [&] {
                      return ++asked == 2;
                    }).value()[0];
  EXPECT_EQ(part.finish, Generation::Finish::kCancelled);
  // Somebody else first, then what was cancelled: it goes on from there.
  const Request other = Ask(RandomTokens(80, 31), 2);
  EXPECT_EQ(Say(runner, other).tokens, Alone(other));
  const Generation again = Say(runner, Ask(prompt, 1));
  EXPECT_EQ(again.tokens, Alone(Ask(prompt, 1)));
  EXPECT_EQ(again.prefix.tokens, 128);
}

TEST_P(PrefixReuseTest, ASecondTurnRunsOnlyWhatIsNew) {
  ModelRunner runner(model(), Options(ModelRunner::Options::kOneConversation));
  Request request = Ask(RandomTokens(45, 40), 3);
  request.reuse = Reuse::kAll;
  for (int turn = 0; turn < 4; ++turn) {
    GenerateStats stats;
    const Generation answer =
        Generate(runner, {request}, nullptr, &stats).value()[0];
    ASSERT_EQ(answer.tokens.size(), 12u);
    // The last token of an answer has not run.
    if (turn > 0) {
      EXPECT_EQ(stats.prompt_tokens, 1 + 17);
    }
    Tokens& prompt = request.prompt;
    prompt.insert(prompt.end(), answer.tokens.begin(), answer.tokens.end());
    const Tokens more = RandomTokens(17, 41 + turn);
    prompt.insert(prompt.end(), more.begin(), more.end());
  }
}

TEST_P(PrefixReuseTest, WithoutRoomItSaysEvictedAndChangesNoBit) {
  const Tokens a = RandomTokens(130, 50), b = RandomTokens(130, 51);
  ModelRunner probe(model(), Options(kMuch));
  Say(probe, Ask(a, 1));
  // Room for the states of one of the two.
  ModelRunner runner(model(), Options(probe.prefixes()->bytes()));
  for (const Tokens& prompt : {a, b, a, b, a}) {
    const Request request = Ask(prompt, 9);
    EXPECT_EQ(Say(runner, request).tokens, Alone(request));
    EXPECT_LE(runner.prefixes()->bytes(), probe.prefixes()->bytes());
  }
  EXPECT_GT(runner.prefixes()->counts().evictions, 0);
}

}  // namespace
}  // namespace intarsia
