// Steps of real models: what shares a step with a sequence, or displaces it,
// changes no bit of it on a CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "intarsia/core/random.h"
#include "intarsia/engine/engine.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

using Tokens = std::vector<int32_t>;
using Want = StepPiece::Want;
using Finish = Generation::Finish;

const Model& GoldenOf(const std::string& name) {
  static std::map<std::string, OpenedModel> opened;
  auto it = opened.find(name);
  if (it == opened.end()) {
    auto result = OpenModel("tests/golden/" + name, LoadOptions());
    CHECK(result.ok()) << result.status().message();
    it = opened.emplace(name, std::move(result).value()).first;
  }
  return it->second.model();
}

void ExpectSameBits(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  ASSERT_EQ(a.dtype(), b.dtype()) << what;
  const Tensor x = a.Contiguous(), y = b.Contiguous();
  EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.nbytes()), 0) << what;
}

class StepTest : public testing::TestWithParam<const char*> {
 protected:
  const Model& model() const { return GoldenOf(GetParam()); }

  ModelRunner::Options Options() const {
    ModelRunner::Options options;
    options.threads = 2;
    options.sequences = 4;
    options.context = 320;
    return options;
  }

  // Of all slots and so many tokens.
  int64_t Bytes(const ModelRunner::Options& options, int64_t tokens) const {
    ModelRunner runner(model(), options);
    return options.sequences * runner.pool().bytes_per_sequence() +
           tokens * runner.pool().bytes_per_token();
  }

  Tokens RandomTokens(size_t n, uint64_t seed) const {
    Random random(seed, 9);
    Tokens tokens(n);
    for (int32_t& t : tokens) {
      t = static_cast<int32_t>(
          random.NextBelow(static_cast<uint32_t>(model().config().vocab_size)));
    }
    return tokens;
  }

  static Tensor Run(ModelRunner& runner, int slot,
                    std::span<const int32_t> tokens) {
    auto logits = runner.Run({{slot, tokens}}, /*all_rows=*/true);
    CHECK(logits.ok()) << logits.status().message();
    return *logits;
  }

  std::vector<Request> Requests(size_t count) const {
    std::vector<Request> requests(count);
    for (size_t i = 0; i < count; ++i) {
      requests[i].prompt = RandomTokens(3 + 41 * i, 60 + i);
      requests[i].sampling = {.temperature = 1.0f, .top_k = 0, .seed = 7 + i};
      requests[i].max_tokens = 90;
    }
    return requests;
  }

  std::vector<Tokens> Alone(const std::vector<Request>& requests) const {
    std::vector<Tokens> answers;
    for (const Request& request : requests) {
      ModelRunner runner(model(), Options());
      answers.push_back(Generate(runner, {request}, nullptr).value()[0].tokens);
    }
    return answers;
  }
};

INSTANTIATE_TEST_SUITE_P(Models, StepTest,
                         testing::Values("tiny", "llama", "mixtral", "mamba2",
                                         "retnet"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

TEST_P(StepTest, PrefillAndDecodeInOneStepAreTheSeparateRuns) {
  const Tokens a = RandomTokens(37, 1), b = RandomTokens(200, 2),
               c = RandomTokens(70, 3), next = RandomTokens(4, 4);
  ModelRunner alone(model(), Options());
  const int sb = alone.Open(), sc = alone.Open();
  const Tensor whole_b = Run(alone, sb, b);
  const Tensor whole_c = Run(alone, sc, c);
  ModelRunner single(model(), Options());
  const int s = single.Open();
  Run(single, s, a);
  std::vector<Tensor> steps_a;
  for (size_t i = 0; i < next.size(); ++i) {
    steps_a.push_back(Run(single, s, {&next[i], 1}));
  }

  ModelRunner mixed(model(), Options());
  const int ma = mixed.Open(), mb = mixed.Open(), mc = mixed.Open();
  Run(mixed, ma, a);
  const std::span<const int32_t> all_b(b), all_c(c);
  const std::vector<std::span<const int32_t>> pieces_b = {
      all_b.first(64), all_b.subspan(64, 64), all_b.subspan(128, 64),
      all_b.subspan(192)};
  Sampler sampler(SamplingOptions{.temperature = 0.8f, .seed = 5});
  for (size_t i = 0; i < next.size(); ++i) {
    StepPlan plan;
    StepPiece piece{.slot = mb, .tokens = pieces_b[i], .total = 200};
    piece.want = Want::kAll;
    plan.push_back(piece);
    piece = {.slot = ma, .tokens = {&next[i], 1}};
    piece.want = Want::kLast;
    plan.push_back(piece);
    if (i == 1) {  // the third one joins, and says nothing yet
      plan.push_back({.slot = mc, .tokens = all_c.first(64), .total = 70});
    } else if (i == 2) {
      piece = {.slot = mc, .tokens = all_c.subspan(64), .total = 70};
      piece.want = Want::kTokens;
      piece.samplers = {&sampler};
      piece.history = c;
      plan.insert(plan.begin(), piece);
    }
    const auto result = mixed.Step(plan);
    ASSERT_TRUE(result.ok()) << result.status().message();
    const auto rows = static_cast<int64_t>(pieces_b[i].size());
    ASSERT_EQ(result->logits.dim(0), rows + 1);
    ExpectSameBits(result->logits.Slice(0, 0, rows),
                   whole_b.Slice(0, 64 * static_cast<int64_t>(i),
                                 64 * static_cast<int64_t>(i) + rows),
                   "prefill");
    ExpectSameBits(result->logits.Slice(0, rows, rows + 1), steps_a[i],
                   "decode");
    ASSERT_EQ(result->tokens.size(), i == 2 ? 1u : 0u);
    if (i != 2) continue;
    const Tensor last = whole_c.Slice(0, 69, 70).Contiguous();
    EXPECT_EQ(result->tokens[0].id,
              *sampler.Sample(
                  {last.data<float>(), static_cast<size_t>(last.numel())}, c));
  }
  EXPECT_EQ(mixed.length(mb), 200);
  EXPECT_EQ(mixed.length(mc), 70);
}

// Graphs of a GPU have few batch sizes; what fills one up is slot -1.
TEST_P(StepTest, PaddingChangesNoBitAndNoState) {
  for (const size_t n : {size_t{1}, size_t{5}}) {
    ModelRunner plain(model(), Options()), padded(model(), Options());
    std::vector<int> slots;
    for (uint64_t i = 0; i < 3; ++i) {
      const Tokens prompt = RandomTokens(10 + 30 * i, 20 + i);
      slots.push_back(plain.Open());
      ASSERT_EQ(padded.Open(), slots.back());
      Run(plain, slots.back(), prompt);
      Run(padded, slots.back(), prompt);
    }
    const Tokens next = RandomTokens(3 * n, 30);
    std::vector<ModelRunner::Segment> segments;
    Batch batch;
    for (size_t i = 0; i < 3; ++i) {
      const auto part = std::span<const int32_t>(next).subspan(i * n, n);
      segments.push_back({slots[i], part});
      ASSERT_TRUE(padded.Reserve(
          slots[i], padded.length(slots[i]) + static_cast<int64_t>(n)));
      batch.Add(part, static_cast<int32_t>(padded.length(slots[i])), slots[i]);
      if (i == 1) ModelRunner::Pad(1, &batch);  // in the middle too
    }
    ModelRunner::Pad(4, &batch);
    const auto expected = plain.Run(segments, true);
    ASSERT_TRUE(expected.ok());
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = &padded.threads();
    ModelState state{padded.pool().View(batch)};
    const Tensor logits = model().Forward(ctx, &state);
    const auto rows = static_cast<int64_t>(n);
    ASSERT_EQ(logits.dim(0), 3 * rows + 5);
    ExpectSameBits(logits.Slice(0, 0, 2 * rows),
                   expected->Slice(0, 0, 2 * rows), "before the padding");
    ExpectSameBits(logits.Slice(0, 2 * rows + 1, 3 * rows + 1),
                   expected->Slice(0, 2 * rows, 3 * rows), "after it");
    for (const float x : logits.ToVector<float>()) {
      ASSERT_TRUE(std::isfinite(x));
    }
    for (const int slot : slots) {
      padded.pool().set_length(slot, padded.length(slot) + rows);
      const auto a = plain.pool().Save(slot), b = padded.pool().Save(slot);
      for (size_t i = 0; i < a.size(); ++i) {
        ExpectSameBits(a[i].values, b[i].values, a[i].name);
      }
    }
    // A slot that nobody has used stays at its init.
    const int a = plain.Open(), b = padded.Open();
    EXPECT_EQ(a, b);
    ExpectSameBits(Run(plain, a, next), Run(padded, b, next), "a fresh one");
  }
}

TEST_P(StepTest, AFailingStepReservesNothing) {
  ModelRunner::Options options = Options();
  options.state_bytes = Bytes(options, 192);
  ModelRunner runner(model(), options);
  const int a = runner.Open(), b = runner.Open();
  const Tokens first = RandomTokens(60, 5), more = RandomTokens(130, 6);
  Run(runner, a, first);
  const int64_t free = runner.free_bytes();
  const bool grows = runner.total_bytes() > 0;
  // The first piece has room, the second has not.
  const StepPlan plan = {{.slot = a, .tokens = std::span(more).first(10)},
                         {.slot = b, .tokens = more}};
  const auto refused = runner.Step(plan);
  if (grows) {
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(runner.free_bytes(), free);
    EXPECT_EQ(runner.length(a), 60);
    EXPECT_EQ(runner.length(b), 0);
  } else {
    ASSERT_TRUE(refused.ok());
  }
  // Nor does a bad token or the end of the context.
  const Tokens longer = RandomTokens(321, 7);
  const Tokens bad = {1, model().config().vocab_size};
  const int64_t now = runner.free_bytes();
  EXPECT_FALSE(runner
                   .Step({{.slot = a, .tokens = std::span(more).first(5)},
                          {.slot = b, .tokens = bad}})
                   .ok());
  EXPECT_FALSE(runner.Step({{.slot = b, .tokens = longer}}).ok());
  EXPECT_EQ(runner.free_bytes(), now);
}

// Too little memory for all: they displace one another, and nobody's answer
// shows it, whether states are moved out or computed again.
TEST_P(StepTest, DisplacedSequencesAnswerAsIfAlone) {
  std::vector<Request> requests = Requests(4);
  requests[3].priority = 1;
  const std::vector<Tokens> expected = Alone(requests);
  for (const int64_t swap_bytes : {int64_t{1} << 30, int64_t{0}}) {
    ModelRunner::Options options = Options();
    options.prefill_chunk = 64;
    options.state_bytes = Bytes(options, 320);
    options.swap_bytes = swap_bytes;
    ModelRunner runner(model(), options);
    GenerateStats stats;
    const auto answers = Generate(runner, requests, nullptr, &stats);
    ASSERT_TRUE(answers.ok()) << answers.status().message();
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ((*answers)[i].tokens, expected[i]) << i << " " << swap_bytes;
      EXPECT_TRUE((*answers)[i].error.ok()) << (*answers)[i].error.message();
    }
    EXPECT_EQ(stats.generated_tokens, 4 * 90);
    EXPECT_EQ(stats.prompt_tokens, 3 + 44 + 85 + 126);
    EXPECT_EQ(stats.decode_tokens, 4 * 89);
    const bool lost = runner.total_bytes() > 0 && swap_bytes == 0;
    EXPECT_EQ(stats.again_tokens > 0, lost);
    EXPECT_EQ(runner.free_slots(), 4);
    EXPECT_EQ(runner.free_bytes(), runner.total_bytes());
  }
}

TEST_P(StepTest, AnswersOfOneRequestAreThoseOfItsSeeds) {
  Request request = Requests(2)[1];
  request.max_tokens = 20;
  std::vector<Request> each(3, request);
  for (size_t i = 0; i < each.size(); ++i) each[i].sampling.seed += i;
  const std::vector<Tokens> expected = Alone(each);
  request.n = 3;
  ModelRunner runner(model(), Options());
  GenerateStats stats;
  const auto answers = Generate(runner, {request}, nullptr, &stats);
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  ASSERT_EQ(answers->size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ((*answers)[i].tokens, expected[i]);
  EXPECT_EQ(stats.prompt_tokens, static_cast<int64_t>(request.prompt.size()));
}

TEST_P(StepTest, TheEndOfOneRequestIsItsOwn) {
  std::vector<Request> requests = Requests(4);
  requests[0].max_tokens = 40;               // ends by its length
  requests[1].prompt = RandomTokens(70, 8);  // runs out of the context
  requests[2].prompt = RandomTokens(81, 9);  // never fits
  requests[3].prompt = RandomTokens(20, 10);
  ModelRunner::Options options = Options();
  options.context = 80;
  ModelRunner runner(model(), options);
  const std::vector<Tokens> expected = Alone(requests);
  int said = 0;
  const auto answers = Generate(runner, requests, [&](size_t i, int32_t) {
    return i != 3 || ++said < 7;  // cancelled at its 7th token
  });
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  EXPECT_EQ((*answers)[0].tokens, expected[0]);
  EXPECT_TRUE((*answers)[0].error.ok());
  EXPECT_EQ((*answers)[1].finish, Finish::kLength);
  EXPECT_NE((*answers)[1].error.message().find("--ctx"), std::string::npos);
  EXPECT_EQ((*answers)[1].tokens,
            Tokens(expected[1].begin(), expected[1].begin() + 11));
  EXPECT_EQ((*answers)[2].finish, Finish::kError);
  EXPECT_NE((*answers)[2].error.message().find("81 tokens"), std::string::npos);
  EXPECT_EQ((*answers)[3].finish, Finish::kCancelled);
  EXPECT_EQ((*answers)[3].tokens,
            Tokens(expected[3].begin(), expected[3].begin() + 7));
  EXPECT_EQ(runner.free_slots(), 4);
  // Alone, what never fits is the call's own error.
  EXPECT_FALSE(Generate(runner, {requests[2]}, nullptr).ok());
}

TEST_P(StepTest, TimesAddUp) {
  const std::vector<Request> requests = Requests(3);
  ModelRunner runner(model(), Options());
  GenerateStats stats;
  const auto answers = Generate(runner, requests, nullptr, &stats);
  ASSERT_TRUE(answers.ok());
  double longest = 0;
  for (const Generation& answer : *answers) {
    EXPECT_GT(answer.first_token_seconds, 0.0);
    EXPECT_GT(answer.decode_seconds, 0.0);
    longest =
        std::max(longest, answer.first_token_seconds + answer.decode_seconds);
  }
  // All time is that of steps, but for what lies between them.
  EXPECT_GT(stats.prefill_seconds, 0.0);
  EXPECT_GE(stats.prefill_seconds + stats.decode_seconds, 0.5 * longest);
}

TEST(BucketTest, IsThePowerOfTwoThatFits) {
  EXPECT_EQ(ModelRunner::Bucket(1, 16), 1);
  EXPECT_EQ(ModelRunner::Bucket(2, 16), 2);
  EXPECT_EQ(ModelRunner::Bucket(3, 16), 4);
  EXPECT_EQ(ModelRunner::Bucket(9, 16), 16);
  EXPECT_EQ(ModelRunner::Bucket(9, 12), 12);
}

}  // namespace
}  // namespace intarsia
