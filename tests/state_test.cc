// The state matrix: what happens to a sequence's state must not show in its
// logits. Bitwise where the order of sums is fixed, else 1e-4 of the logits'
// deviation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "intarsia/core/block_count.h"
#include "intarsia/core/random.h"
#include "intarsia/engine/engine.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

// The chunk grids of all rooms divide this many positions.
constexpr int kGrid = 64;

// `packed`: its weights in this format, packed for the CPU; null: as stored.
const Model& ModelOf(const std::string& name, const char* packed = nullptr) {
  static std::map<std::string, OpenedModel> opened;
  const std::string key = name + (packed != nullptr ? packed : "");
  auto it = opened.find(key);
  if (it == opened.end()) {
    LoadOptions options;
    if (packed != nullptr) options.matrices = FindFormat(packed);
    options.pack = packed != nullptr;
    auto result = OpenModel("tests/golden/" + name, options);
    CHECK(result.ok()) << result.status().message();
    it = opened.emplace(key, std::move(result).value()).first;
  }
  return it->second.model();
}

double Deviation(const Logits& x) {
  double sum = 0, squares = 0;
  for (float v : x) {
    sum += v;
    squares += double{v} * v;
  }
  const double n = static_cast<double>(x.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

double MaxDifference(const Logits& a, const Logits& b) {
  CHECK_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(double{a[i]} - b[i]);
    if (!(d <= most)) most = d;
  }
  return most;
}

void ExpectSameBits(const Logits& a, const Logits& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  EXPECT_TRUE(std::ranges::all_of(a, [](float v) { return std::isfinite(v); }))
      << what;
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0)
      << what << ": largest difference " << MaxDifference(a, b);
}

struct Case {
  const char* model;
  DType dtype;  // of per-token state
  const char* packed = nullptr;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.model << " " << Name(c.dtype)
       << (c.packed != nullptr ? c.packed : "");
}

class StateTest : public testing::TestWithParam<Case> {
 protected:
  const Model& model() const {
    return ModelOf(GetParam().model, GetParam().packed);
  }

  ModelRunner::Options Options() const {
    ModelRunner::Options options;
    options.threads = 2;
    options.sequences = 4;
    options.context = 320;
    options.token_dtype = GetParam().dtype;
    return options;
  }

  Tokens RandomTokens(size_t n, uint64_t seed) const {
    Random random(seed, 3);
    Tokens tokens(n);
    for (int32_t& t : tokens) {
      t = static_cast<int32_t>(
          random.NextBelow(static_cast<uint32_t>(model().config().vocab_size)));
    }
    return tokens;
  }

  // The logits after every token.
  static Logits Run(ModelRunner& runner, int slot,
                    std::span<const int32_t> tokens) {
    auto logits = runner.Run({{slot, tokens}}, /*all_rows=*/true);
    CHECK(logits.ok()) << logits.status().message();
    return logits->ToVector<float>();
  }

  // One token at a time.
  static Logits Decode(ModelRunner& runner, int slot,
                       std::span<const int32_t> tokens) {
    Logits all;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const Logits row = Run(runner, slot, tokens.subspan(i, 1));
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

  // The plain run: a prefill, then decode steps.
  Logits Plain(const Tokens& prompt, const Tokens& rest) const {
    ModelRunner runner(model(), Options());
    const int slot = runner.Open();
    Run(runner, slot, prompt);
    return Decode(runner, slot, rest);
  }
};

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::string(c.model) + "_" + std::string(Name(c.dtype)) +
         (c.packed != nullptr ? std::string("_packed_") + c.packed : "");
}

INSTANTIATE_TEST_SUITE_P(
    Models, StateTest,
    testing::Values(
        Case{"tiny", DType::kBF16}, Case{"tiny", DType::kF32},
        Case{"llama", DType::kBF16}, Case{"llama", DType::kF32},
        Case{"mixtral", DType::kBF16}, Case{"mixtral", DType::kF32},
        Case{"mamba2", DType::kBF16}, Case{"mamba2", DType::kF32},
        Case{"retnet", DType::kBF16}, Case{"retnet", DType::kF32},
        // Every kind of mixer, with rows of whole blocks.
        Case{"tiny", DType::kBF16, "bf16"}, Case{"tiny", DType::kBF16, "f16"},
        Case{"tiny", DType::kBF16, "q8_0"}, Case{"tiny", DType::kBF16, "q4_1"},
        Case{"tiny", DType::kBF16, "q5_0"}, Case{"tiny", DType::kBF16, "mxfp4"},
        Case{"retnet", DType::kBF16, "q4_0"}),
    CaseName);

// Bounds that hold for entries kept in fp32.
class Fp32StateTest : public StateTest {};

INSTANTIATE_TEST_SUITE_P(Models, Fp32StateTest,
                         testing::Values(Case{"tiny", DType::kF32},
                                         Case{"llama", DType::kF32},
                                         Case{"mixtral", DType::kF32},
                                         Case{"mamba2", DType::kF32},
                                         Case{"retnet", DType::kF32}),
                         CaseName);

TEST_P(StateTest, NeighboursChangeNoBit) {
  const Tokens a = RandomTokens(37, 1), b = RandomTokens(5, 2),
               c = RandomTokens(90, 3), rest = RandomTokens(6, 4);
  ModelRunner alone(model(), Options());
  const int slot = alone.Open();
  const Logits prefill = Run(alone, slot, a);
  const Logits decode = Decode(alone, slot, rest);

  ModelRunner shared(model(), Options());
  const int sb = shared.Open(), sa = shared.Open(), sc = shared.Open();
  auto out = shared.Run({{sb, b}, {sa, a}, {sc, c}}, true);
  ASSERT_TRUE(out.ok()) << out.status().message();
  ExpectSameBits(prefill,
                 out->Slice(0, 5, 5 + 37).Contiguous().ToVector<float>(),
                 "prefill");
  Logits together;
  for (size_t i = 0; i < rest.size(); ++i) {
    // A neighbour decodes too, another one is still in its prefill.
    const Tokens more = RandomTokens(11, 50 + i);
    auto step = shared.Run({{sc, {&b[0], 1}}, {sa, {&rest[i], 1}}, {sb, more}});
    ASSERT_TRUE(step.ok()) << step.status().message();
    const Logits row = step->Slice(0, 1, 2).Contiguous().ToVector<float>();
    together.insert(together.end(), row.begin(), row.end());
  }
  ExpectSameBits(decode, together, "decode");
}

TEST_P(StateTest, PrefillOnTheGridChangesNoBit) {
  const Tokens prompt = RandomTokens(200, 5), rest = RandomTokens(4, 6);
  ModelRunner whole(model(), Options());
  const int slot = whole.Open();
  const Logits expected = Run(whole, slot, prompt);
  const Logits after = Decode(whole, slot, rest);

  for (int chunk : {kGrid, 2 * kGrid}) {
    ModelRunner::Options options = Options();
    options.prefill_chunk = chunk;
    ModelRunner runner(model(), options);
    const int s = runner.Open();
    ExpectSameBits(expected, Run(runner, s, prompt),
                   "prefill_chunk " + std::to_string(chunk));
    ExpectSameBits(after, Decode(runner, s, rest), "decode after it");
  }
  // Several calls instead of one.
  ModelRunner calls(model(), Options());
  const int s = calls.Open();
  Logits pieces;
  const std::span<const int32_t> all(prompt);
  for (const auto& [begin, n] :
       std::vector<std::pair<size_t, size_t>>{{0, 64}, {64, 128}, {192, 8}}) {
    const Logits part = Run(calls, s, all.subspan(begin, n));
    pieces.insert(pieces.end(), part.begin(), part.end());
  }
  ExpectSameBits(expected, pieces, "three calls");
  ExpectSameBits(after, Decode(calls, s, rest), "decode after three calls");
}

TEST_P(StateTest, ThreadsChangeNoBit) {
  const Tokens prompt = RandomTokens(130, 7), rest = RandomTokens(4, 8);
  const Logits expected = Plain(prompt, rest);
  for (int threads : {1, 3}) {
    ModelRunner::Options options = Options();
    options.threads = threads;
    ModelRunner runner(model(), options);
    const int slot = runner.Open();
    Run(runner, slot, prompt);
    ExpectSameBits(expected, Decode(runner, slot, rest),
                   std::to_string(threads) + " threads");
  }
}

// On one thread: with more, which blocks are free when depends on their timing.
TEST_P(StateTest, DecodeStepsReuseTheirMemory) {
  auto options = Options();
  options.threads = 1;
  ModelRunner runner(model(), options);
  const int slot = runner.Open();
  Run(runner, slot, RandomTokens(20, 44));
  const Tokens rest = RandomTokens(42, 45);
  Run(runner, slot, {&rest[0], 1});
  Run(runner, slot, {&rest[1], 1});
  const int64_t before = BlocksFromSystem();
  for (size_t i = 2; i < rest.size(); ++i) Run(runner, slot, {&rest[i], 1});
  if (kKeepsFreedBlocks) {
    EXPECT_EQ(BlocksFromSystem(), before);
  } else {
    EXPECT_GT(BlocksFromSystem(), before);
  }
}

TEST_P(StateTest, AFileKeepsEveryBit) {
  const Tokens prompt = RandomTokens(83, 9), rest = RandomTokens(6, 10);
  const std::string path = testing::TempDir() + "state_" +
                           CaseName({GetParam(), /*index=*/0}) + ".safetensors";
  {
    ModelRunner runner(model(), Options());
    const int slot = runner.Open();
    Run(runner, slot, prompt);
    const Status saved = runner.Save(slot, path);
    ASSERT_TRUE(saved.ok()) << saved.message();
  }
  ModelRunner runner(model(), Options());
  runner.Open();  // so that the slot differs
  const int slot = runner.Open();
  const Status restored = runner.Restore(slot, path);
  ASSERT_TRUE(restored.ok()) << restored.message();
  EXPECT_EQ(runner.length(slot), 83);
  ExpectSameBits(Plain(prompt, rest), Decode(runner, slot, rest), "restored");

  // Another model refuses it and stays usable.
  const std::string other =
      std::string(GetParam().model) == "llama" ? "mamba2" : "llama";
  ModelRunner stranger(ModelOf(other), Options());
  const int fresh = stranger.Open();
  EXPECT_FALSE(stranger.Restore(fresh, path).ok());
  EXPECT_EQ(stranger.length(fresh), 0);
  std::filesystem::remove(path);
}

TEST_P(StateTest, AUsedSlotStartsAfresh) {
  const Tokens prompt = RandomTokens(70, 11), rest = RandomTokens(4, 12);
  ModelRunner::Options options = Options();
  options.sequences = 1;
  ModelRunner runner(model(), options);
  int slot = runner.Open();
  Run(runner, slot, RandomTokens(100, 13));
  EXPECT_EQ(runner.Open(), -1);
  runner.Close(slot);
  slot = runner.Open();
  EXPECT_EQ(runner.length(slot), 0);
  Run(runner, slot, prompt);
  ExpectSameBits(Plain(prompt, rest), Decode(runner, slot, rest), "reused");
}

TEST_P(StateTest, SwappedOutAndInElsewhereChangesNoBit) {
  const Tokens a = RandomTokens(66, 14), b = RandomTokens(40, 15),
               rest = RandomTokens(6, 16);
  ModelRunner runner(model(), Options());
  const int first = runner.Open(), neighbour = runner.Open();
  Run(runner, first, a);
  Run(runner, neighbour, b);
  const Logits before =
      Decode(runner, first, std::span<const int32_t>(rest).first(3));
  const std::vector<StatePool::Saved> saved = runner.pool().Save(first);
  const int64_t length = runner.length(first);
  runner.Close(first);
  // Somebody else takes the slot and its pages, and stays.
  const int taker = runner.Open();
  EXPECT_EQ(taker, first);
  Run(runner, taker, RandomTokens(150, 17));
  const int second = runner.Open();
  ASSERT_NE(second, first);
  ASSERT_TRUE(runner.pool().Restore(second, saved, length).ok());
  Logits all = before;
  const Logits after =
      Decode(runner, second, std::span<const int32_t>(rest).subspan(3));
  all.insert(all.end(), after.begin(), after.end());
  ExpectSameBits(Plain(a, rest), all, "swapped");
  // The neighbour did not notice.
  ExpectSameBits(Plain(b, rest), Decode(runner, neighbour, rest), "neighbour");
}

TEST_P(Fp32StateTest, OddSplitsAndRecomputationAgreeClosely) {
  const Tokens prompt = RandomTokens(150, 18);
  ModelRunner whole(model(), Options());
  const Logits expected = Run(whole, whole.Open(), prompt);
  const double bound = 1e-4 * Deviation(expected);
  const std::span<const int32_t> all(prompt);
  for (const std::vector<size_t>& sizes : std::vector<std::vector<size_t>>{
           {1, 149}, {37, 100, 13}, {63, 1, 1, 85}, {100, 50}}) {
    ModelRunner runner(model(), Options());
    const int slot = runner.Open();
    Logits pieces;
    size_t begin = 0;
    for (size_t n : sizes) {
      const Logits part = Run(runner, slot, all.subspan(begin, n));
      pieces.insert(pieces.end(), part.begin(), part.end());
      begin += n;
    }
    EXPECT_LE(MaxDifference(expected, pieces), bound) << sizes[0];
  }
  // Preempted without a copy: the prompt and what was decoded run again.
  const Tokens rest = RandomTokens(9, 19);
  const Logits decoded = Plain(prompt, rest);
  Tokens history = prompt;
  history.insert(history.end(), rest.begin(), rest.end());
  ModelRunner again(model(), Options());
  const Logits rows = Run(again, again.Open(), history);
  const Logits tail(rows.end() - static_cast<long>(decoded.size()), rows.end());
  EXPECT_LE(MaxDifference(decoded, tail), bound);
}

TEST_P(StateTest, ASeedGivesOneText) {
  std::vector<Request> requests(3);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt = RandomTokens(4 + 13 * i, 20 + i);
    requests[i].sampling = {.temperature = 1.0f,
                            .top_k = 0,
                            .top_p = 1.0f,
                            .min_p = 0.0f,
                            .repeat_penalty = 1.1f,
                            .seed = 100 + i};
    requests[i].max_tokens = 24;
  }
  std::vector<Tokens> expected;
  for (const Request& request : requests) {
    ModelRunner runner(model(), Options());
    auto answer = Generate(runner, {request}, nullptr);
    ASSERT_TRUE(answer.ok()) << answer.status().message();
    expected.push_back((*answer)[0].tokens);
    EXPECT_EQ(expected.back().size(), 24u);
  }
  EXPECT_NE(expected[0], expected[1]);
  for (int threads : {1, 2, 3}) {
    ModelRunner::Options options = Options();
    options.threads = threads;
    ModelRunner runner(model(), options);
    auto answers = Generate(runner, requests, nullptr);
    ASSERT_TRUE(answers.ok()) << answers.status().message();
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ((*answers)[i].tokens, expected[i]) << threads << " " << i;
    }
  }
  Request other = requests[0];
  other.sampling.seed = 999;
  ModelRunner runner(model(), Options());
  EXPECT_NE(Generate(runner, {other}, nullptr).value()[0].tokens, expected[0]);
}

// A sequence whose state went bad must not take its neighbours along.
TEST_P(StateTest, NonFiniteLogitsEndOnlyTheirRequest) {
  auto request = [&](uint64_t seed) {
    Request r;
    r.prompt = RandomTokens(20, seed);
    r.sampling.temperature = 0.0f;
    r.max_tokens = 8;
    return r;
  };
  const std::vector<Request> healthy = {request(30), request(31)};
  ModelRunner plain(model(), Options());
  const auto expected = Generate(plain, healthy, nullptr).value();

  ModelRunner runner(model(), Options());
  int bad = runner.Open();
  Run(runner, bad, RandomTokens(30, 32));
  std::vector<StatePool::Saved> saved = runner.pool().Save(bad);
  for (StatePool::Saved& part : saved) {
    std::memset(part.values.mutable_raw(), 0xFF, part.values.nbytes());  // NaN
  }
  runner.Close(bad);
  bad = runner.Open();
  ASSERT_TRUE(runner.pool().Restore(bad, saved, 30).ok());
  Request poisoned = request(33);
  poisoned.slot = bad;
  const auto answers =
      Generate(runner, {healthy[0], poisoned, healthy[1]}, nullptr);
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  EXPECT_EQ((*answers)[1].finish, Generation::Finish::kError);
  EXPECT_FALSE((*answers)[1].error.ok());
  EXPECT_TRUE((*answers)[1].tokens.empty());
  EXPECT_EQ((*answers)[0].tokens, expected[0].tokens);
  EXPECT_EQ((*answers)[2].tokens, expected[1].tokens);
  EXPECT_EQ((*answers)[0].finish, Generation::Finish::kLength);
  // Its slot is clean for the next one.
  runner.Close(bad);
  const auto again = Generate(runner, healthy, nullptr).value();
  EXPECT_EQ(again[0].tokens, expected[0].tokens);
  EXPECT_EQ(again[1].tokens, expected[1].tokens);
}

// What ran before a prompt was cancelled is as good as any other state.
TEST_P(StateTest, ACancelledPromptGoesOnWithoutAChangedBit) {
  ModelRunner::Options options = Options();
  options.prefill_chunk = kGrid;
  ModelRunner runner(model(), options);
  Request request;
  request.prompt = RandomTokens(3 * kGrid + 5, 33);
  request.max_tokens = 8;
  request.sampling.temperature = 0;
  const auto whole = Generate(runner, {request}, nullptr).value()[0];
  EXPECT_EQ(whole.tokens.size(), 8u);

  request.slot = runner.Open();
  int asked = 0;
  GenerateStats stats;
  const auto part = Generate(runner, {request}, nullptr, &stats, [&] {
                      return ++asked == 2;
                    }).value()[0];
  EXPECT_EQ(part.finish, Generation::Finish::kCancelled);
  EXPECT_TRUE(part.tokens.empty());
  EXPECT_EQ(runner.length(request.slot), 2 * kGrid);
  EXPECT_EQ(stats.prompt_tokens, 2 * kGrid);

  const Tokens all = request.prompt;
  request.before.assign(all.begin(), all.begin() + 2 * kGrid);
  request.prompt.assign(all.begin() + 2 * kGrid, all.end());
  const auto rest = Generate(runner, {request}, nullptr, nullptr, [&] {
                      return ++asked < 0;
                    }).value()[0];
  EXPECT_EQ(rest.tokens, whole.tokens);
  EXPECT_EQ(asked, 2 + 1 + 7);  // between two pieces, before each later token
}

TEST_P(StateTest, AFullContextIsAnErrorAndLosesNothing) {
  const Tokens prompt = RandomTokens(60, 40), rest = RandomTokens(4, 41);
  ModelRunner::Options options = Options();
  options.context = 64;
  ModelRunner runner(model(), options);
  const int slot = runner.Open();
  Run(runner, slot, prompt);
  const auto refused = runner.Run({{slot, RandomTokens(5, 42)}});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("--ctx"), std::string::npos)
      << refused.status().message();
  EXPECT_EQ(runner.length(slot), 60);
  // Neither do bad ids, nor a batch of which one segment is refused.
  const Tokens bad = {model().config().vocab_size};
  EXPECT_FALSE(runner.Run({{slot, bad}}).ok());
  const int other = runner.Open();
  EXPECT_FALSE(
      runner.Run({{slot, {&rest[0], 1}}, {other, RandomTokens(65, 43)}}).ok());
  EXPECT_EQ(runner.length(slot), 60);
  EXPECT_EQ(runner.length(other), 0);
  ExpectSameBits(Plain(prompt, rest), Decode(runner, slot, rest), "rest");

  // Generation stops at the end of the context; what was said stands.
  Request request;
  request.prompt = prompt;
  request.max_tokens = 100;
  ModelRunner full(model(), options);
  const auto answers = Generate(full, {request}, nullptr);
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  EXPECT_FALSE((*answers)[0].error.ok());
  // The last token is sampled from the 64th and needs no place.
  EXPECT_EQ((*answers)[0].tokens.size(), 5u);
}

TEST_P(StateTest, RequestsPastTheSequencesWaitForTheirTurn) {
  ModelRunner::Options options = Options();
  options.sequences = 2;
  ModelRunner runner(model(), options);
  Request request;
  request.prompt = RandomTokens(3, 50);
  request.max_tokens = 2;
  const auto alone = Generate(runner, {request}, nullptr).value()[0];
  const auto all = Generate(runner, {request, request, request}, nullptr);
  ASSERT_TRUE(all.ok()) << all.status().message();
  for (const Generation& answer : *all) {
    EXPECT_EQ(answer.tokens, alone.tokens);
    EXPECT_TRUE(answer.error.ok());
  }
  EXPECT_EQ(runner.pool().free_slots(), 2);
  // Nobody will give a slot back: refused, with nothing lost.
  const int a = runner.Open(), b = runner.Open();
  const auto refused = Generate(runner, {request}, nullptr).value()[0];
  EXPECT_EQ(refused.finish, Generation::Finish::kError);
  EXPECT_EQ(refused.error.code(), StatusCode::kUnavailable);
  runner.Close(a);
  runner.Close(b);
  EXPECT_EQ(runner.pool().free_slots(), 2);
}

}  // namespace
}  // namespace intarsia
