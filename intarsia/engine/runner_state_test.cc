// What may happen to a running sequence's state, seen from its logits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "intarsia/distributed/communicator.h"
#include "intarsia/engine/admission.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/model/shard.h"

namespace intarsia {
namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

constexpr int kVocab = 61;

struct MixerJson {
  std::string name;
  Json config;
};
using Mixers = std::vector<MixerJson>;

Json ModelJson(const Mixers& mixers) {
  Json sublayers = Json::array();
  for (const MixerJson& mixer : mixers) {
    sublayers.push_back({{"mixer", mixer.name},
                         {"norm", {{"type", "rms"}}},
                         {"config", mixer.config}});
  }
  return {{"intarsia", 1},
          {"name", "small"},
          {"vocab_size", kVocab},
          {"dim", 48},
          {"final_norm", {{"type", "rms"}}},
          {"blocks", Json::array({{{"repeat", 2}, {"sublayers", sublayers}}})}};
}

MixerJson Attention(int window = 0) {
  Json config = {{"heads", 4},
                 {"kv_heads", 2},
                 {"head_dim", 12},
                 {"bias", true},
                 {"rope", {{"theta", 10000}}}};
  if (window > 0) config["window"] = window;
  return {"attention", config};
}
MixerJson Glu() { return {"glu", {{"hidden", 64}}}; }
MixerJson Mamba2() {
  return {"mamba2",
          {{"heads", 6}, {"head_dim", 16}, {"state_dim", 32}, {"groups", 2}}};
}
MixerJson Retention() {
  return {"retention",
          {{"heads", 4},
           {"key_dim", 12},
           {"value_dim", 24},
           {"rope", Json::object()},
           {"norm", {{"type", "rms"}}}}};
}

std::unique_ptr<Model> MakeModel(const Mixers& mixers) {
  auto model =
      Model::Create(ParseModelConfig(ModelJson(mixers)).value()).value();
  model->InitWeights(5);
  return model;
}

ModelRunner::Options Options(DType dtype = DType::kF32, int64_t context = 400) {
  ModelRunner::Options options;
  options.threads = 1;
  options.sequences = 3;
  options.context = context;
  options.token_dtype = dtype;
  options.prefill_chunk = 64;
  return options;
}

Tokens RandomTokens(size_t n, uint64_t seed) {
  Random random(seed);
  Tokens tokens(n);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random.NextBelow(kVocab));
  return tokens;
}

Logits RunAll(ModelRunner& runner, int slot, const Tokens& tokens) {
  auto logits = runner.Run({{slot, tokens}}, /*all_rows=*/true);
  CHECK(logits.ok()) << logits.status().message();
  return logits->ToVector<float>();
}

Logits Decode(ModelRunner& runner, int slot, const Tokens& tokens) {
  Logits all;
  for (const int32_t token : tokens) {
    const Logits row = RunAll(runner, slot, {token});
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

double Deviation(const Logits& x) {
  double sum = 0, squares = 0;
  for (const float v : x) {
    sum += v;
    squares += double{v} * v;
  }
  const auto n = static_cast<double>(x.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

// Two ranks that keep their own heads' state serve what one serves.
class TwoRanks : public testing::TestWithParam<const char*> {};

TEST_P(TwoRanks, ServeWhatOneDoes) {
  const std::string name = GetParam();
  const std::map<std::string, Mixers> models = {
      {"attention", {Attention(), Glu()}},
      {"window", {Attention(40), Glu()}},
      {"mamba2", {Mamba2(), Glu()}},
      {"retention", {Retention(), Glu()}},
      {"hybrid", {Attention(), Mamba2(), Retention(), Glu()}}};
  const Mixers& mixers = models.at(name);
  const std::unique_ptr<Model> whole = MakeModel(mixers);
  const Tokens prompt = RandomTokens(100, 1), rest = RandomTokens(30, 2);
  const auto serve = [&](const Model& model, Communicator* group) {
    ModelRunner::Options options = Options();
    options.tensor_parallel = group;
    ModelRunner runner(model, options);
    const int other = runner.Open(), slot = runner.Open();
    RunAll(runner, other, RandomTokens(20, 3));
    Logits logits = RunAll(runner, slot, prompt);
    const Logits after = Decode(runner, slot, rest);
    logits.insert(logits.end(), after.begin(), after.end());
    return std::pair(logits, runner.pool().bytes());
  };
  const auto [expected, bytes] = serve(*whole, nullptr);

  auto group = MakeLocalGroup(2);
  std::vector<std::unique_ptr<Model>> parts;
  for (int r = 0; r < 2; ++r) {
    parts.push_back(ShardModel(*whole, r, 2).value());
  }
  std::pair<Logits, int64_t> got[2];
  std::vector<std::thread> ranks;
  for (int r = 0; r < 2; ++r) {
    ranks.emplace_back([&, r] { got[r] = serve(*parts[r], group[r].get()); });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(got[0].first, got[1].first);
  ASSERT_EQ(got[0].first.size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(double{got[0].first[i]} - expected[i]));
  }
  EXPECT_LE(worst, 1e-5 * Deviation(expected));
  EXPECT_EQ(got[0].second * 2, bytes);  // each keeps half of the state
}

INSTANTIATE_TEST_SUITE_P(Models, TwoRanks,
                         testing::Values("attention", "window", "mamba2",
                                         "retention", "hybrid"),
                         [](const auto& test) {
                           return std::string(test.param);
                         });

TEST(RunnerStateTest, AWindowsMemoryIsFlatInDepth) {
  const auto model = MakeModel({Attention(40), Glu()});
  const auto hybrid = MakeModel({Attention(40), Attention(), Glu()});
  const Tokens tokens = RandomTokens(4000, 7);
  const auto taken = [&](const Model& m, size_t depth) {
    ModelRunner runner(m, Options(DType::kF32, 4096));
    RunAll(runner, runner.Open(),
           Tokens(tokens.begin(), tokens.begin() + depth));
    return runner.pool().bytes_taken();
  };
  constexpr int64_t kEntry = 2 * 12 * 4 * 2;  // of keys and values
  EXPECT_EQ(taken(*model, 500), taken(*model, 4000));
  EXPECT_LE(taken(*model, 4000), 2 * (40 + 64 + 2 * 48) * kEntry);
  // Beside it the whole attention grows.
  EXPECT_GE(taken(*hybrid, 4000) - taken(*hybrid, 500), 2 * 3400 * kEntry);
}

TEST(RunnerStateTest, PagesThatWereGivenBackChangeNoBit) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    const auto model = MakeModel({Attention(40), Attention(), Glu()});
    const Tokens prompt = RandomTokens(350, 8), rest = RandomTokens(40, 9);
    ModelRunner::Options options = Options(dtype);
    options.prefill_chunk = 512;  // all of it in one batch
    ModelRunner whole(*model, options);
    const int a = whole.Open();
    const Logits expected = RunAll(whole, a, prompt);
    const Logits after = Decode(whole, a, rest);
    ModelRunner pieces(*model, Options(dtype));
    const int other = pieces.Open(), b = pieces.Open();
    RunAll(pieces, other, RandomTokens(300, 10));
    EXPECT_EQ(RunAll(pieces, b, prompt), expected) << Name(dtype);
    RunAll(pieces, other, RandomTokens(60, 11));
    EXPECT_EQ(Decode(pieces, b, rest), after) << Name(dtype);
  }
}

TEST(RunnerStateTest, AForkGoesOnAloneAndSoDoesItsOrigin) {
  for (const DType dtype : {DType::kBF16, DType::kI8}) {
    const auto model = MakeModel({Attention(40), Mamba2(), Attention(), Glu()});
    const Tokens prompt = RandomTokens(130, 12), x = RandomTokens(20, 13),
                 y = RandomTokens(20, 14);
    const auto plain = [&](const Tokens& rest) {
      ModelRunner runner(*model, Options(dtype));
      const int slot = runner.Open();
      RunAll(runner, slot, prompt);
      return Decode(runner, slot, rest);
    };
    ModelRunner runner(*model, Options(dtype));
    const int a = runner.Open();
    RunAll(runner, a, prompt);
    const int b = runner.pool().Fork(a);
    ASSERT_GE(b, 0);
    Logits of_a, of_b;
    for (size_t i = 0; i < x.size(); ++i) {
      const auto step = runner.Run({{a, {&x[i], 1}}, {b, {&y[i], 1}}});
      ASSERT_TRUE(step.ok()) << step.status().message();
      const Logits rows = step->ToVector<float>();
      of_a.insert(of_a.end(), rows.begin(), rows.begin() + kVocab);
      of_b.insert(of_b.end(), rows.begin() + kVocab, rows.end());
    }
    EXPECT_EQ(of_a, plain(x));
    EXPECT_EQ(of_b, plain(y));
  }
}

TEST(RunnerStateTest, RejectedDraftsLeaveNoTrace) {
  const Tokens prompt = RandomTokens(90, 15), drafts = RandomTokens(5, 16),
               rest = RandomTokens(20, 17);
  for (const Mixers& mixers :
       {Mixers{Attention(), Glu()}, Mixers{Attention(40), Mamba2(), Glu()}}) {
    const auto model = MakeModel(mixers);
    ModelRunner plain(*model, Options());
    const int a = plain.Open();
    RunAll(plain, a, prompt);
    const Logits expected = Decode(plain, a, rest);
    ModelRunner runner(*model, Options());
    const int b = runner.Open();
    RunAll(runner, b, prompt);
    StatePool& pool = runner.pool();
    const auto snapshot = pool.Snapshot(b);
    Decode(runner, b, drafts);
    const bool truncates = mixers.size() == 2;
    EXPECT_EQ(pool.Truncate(b, 90).ok(), truncates);
    EXPECT_EQ(pool.Truncate(b, 90, snapshot.get()).value(), 90);
    EXPECT_EQ(Decode(runner, b, rest), expected);
  }
}

TEST(RunnerStateTest, FilesOfWindowsAndInt8KeepEveryBit) {
  const std::string path = testing::TempDir() + "runner_state.safetensors";
  const auto model = MakeModel({Attention(40), Mamba2(), Attention(), Glu()});
  const Tokens prompt = RandomTokens(300, 18), rest = RandomTokens(10, 19);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    ModelRunner runner(*model, Options(dtype));
    const int slot = runner.Open();
    RunAll(runner, slot, prompt);
    ASSERT_TRUE(runner.Save(slot, path).ok());
    const Logits expected = Decode(runner, slot, rest);
    ModelRunner other(*model, Options(dtype));
    const int fresh = other.Open();
    const Status status = other.Restore(fresh, path);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Decode(other, fresh, rest), expected) << Name(dtype);
    // Another format of state is refused, with the flag that chooses it.
    ModelRunner wrong(*model,
                      Options(dtype == DType::kI8 ? DType::kBF16 : DType::kI8));
    const Status refused = wrong.Restore(wrong.Open(), path);
    EXPECT_NE(refused.message().find("--state-dtype"), std::string::npos)
        << refused.message();
  }
  std::filesystem::remove(path);
}

TEST(RunnerStateTest, ABudgetBoundsTheStateAndSharesIt) {
  const auto model = MakeModel({Attention(), Glu()});
  ModelRunner::Options options = Options(DType::kF32, 256);
  constexpr int64_t kPage = 64 * 2 * 2 * 12 * 4 * 2;  // of two blocks
  options.state_bytes = 6 * kPage;
  ModelRunner runner(*model, options);
  EXPECT_EQ(runner.pool().bytes(), 6 * kPage);
  const int a = runner.Open(), b = runner.Open();
  RunAll(runner, a, RandomTokens(250, 20));
  RunAll(runner, b, RandomTokens(120, 21));
  const Tokens more = RandomTokens(20, 22);
  const auto refused = runner.Run({{b, more}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(runner.length(b), 120);
  runner.Close(a);
  EXPECT_TRUE(runner.Run({{b, more}}).ok());
}

TEST(AdmissionTest, SaysTheBytesAndRefusesWhatDoesNotFit) {
  const auto model = MakeModel({Attention(), Mamba2(), Glu()});
  ModelRunner::Options options = Options(DType::kBF16, 1000);
  constexpr int64_t kWeights = 123456;
  const MemoryNeeds needs = NeedsOf(*model, kWeights, options).value();
  EXPECT_EQ(needs.token, 2 * 2 * 2 * 12 * 2);
  EXPECT_EQ(needs.one, needs.sequence + 1024 * needs.token);
  EXPECT_EQ(needs.state, 3 * needs.one);
  ModelRunner runner(*model, options);
  EXPECT_EQ(runner.pool().bytes(), needs.state);
  EXPECT_TRUE(needs.Check().ok());
  int64_t together = 0;
  for (const auto& [what, bytes] : needs.Table()) {
    if (what == "weights and state") together = bytes;
  }
  EXPECT_EQ(together, kWeights + needs.state);

  options.state_bytes = needs.one - 1;
  const Status small = NeedsOf(*model, kWeights, options)->Check();
  ASSERT_FALSE(small.ok());
  EXPECT_NE(small.message().find("--state-memory"), std::string::npos);
  options.state_bytes = needs.one;
  EXPECT_TRUE(NeedsOf(*model, kWeights, options)->Check().ok());
  const Status huge = NeedsOf(*model, int64_t{1} << 60, options)->Check();
  ASSERT_FALSE(huge.ok());
  EXPECT_NE(huge.message().find("free are"), std::string::npos);
}

}  // namespace
}  // namespace intarsia
