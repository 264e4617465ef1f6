#include "intarsia/model/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "intarsia/autograd/tape.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/model/shard.h"
#include "intarsia/ops/cross_entropy/cross_entropy.h"

namespace intarsia {
namespace {

constexpr const char* kLlama = R"({
  "intarsia": 1, "name": "llama", "vocab_size": 61, "dim": 48,
  "final_norm": {"type": "rms"}, "blocks": [{"repeat": 2, "sublayers": [
    {"mixer": "attention", "norm": {"type": "rms"},
     "config": {"heads": 4, "kv_heads": 2, "head_dim": 12,
                "rope": {"theta": 10000}}},
    {"mixer": "glu", "norm": {"type": "rms"}, "config": {"hidden": 64}}]}]})";
constexpr const char* kMixtral = R"({
  "intarsia": 1, "name": "mixtral", "vocab_size": 61, "dim": 48,
  "final_norm": {"type": "rms"}, "blocks": [{"repeat": 2, "sublayers": [
    {"mixer": "attention", "norm": {"type": "rms"},
     "config": {"heads": 4, "kv_heads": 2, "head_dim": 12, "bias": true,
                "rope": {"theta": 10000}}},
    {"mixer": "moe", "norm": {"type": "rms"},
     "config": {"experts": 8, "top_k": 2, "hidden": 32}}]}]})";
constexpr const char* kMamba2 = R"({
  "intarsia": 1, "name": "mamba2", "vocab_size": 61, "dim": 48,
  "final_norm": {"type": "rms"}, "blocks": [{"repeat": 2, "sublayers": [
    {"mixer": "mamba2", "norm": {"type": "rms"},
     "config": {"heads": 6, "head_dim": 16, "state_dim": 32, "groups": 2}}]}]})";
constexpr const char* kRetNet = R"({
  "intarsia": 1, "name": "retnet", "vocab_size": 61, "dim": 48,
  "final_norm": {"type": "rms"}, "blocks": [{"repeat": 2, "sublayers": [
    {"mixer": "retention", "norm": {"type": "rms"},
     "config": {"heads": 4, "key_dim": 12, "value_dim": 24, "rope": {},
                "norm": {"type": "rms"}}},
    {"mixer": "mlp", "norm": {"type": "rms"}, "config": {"hidden": 64}}]}]})";

constexpr const char* kWired = R"({
  "intarsia": 1, "name": "wired", "vocab_size": 61, "dim": 48,
  "head_bias": true, "logit_softcap": 2.5,
  "final_norm": {"type": "rms"}, "blocks": [
  {"sublayers": [
    {"mixer": "attention", "pre_norm": {"type": "none"},
     "post_norm": {"type": "rms"},
     "config": {"heads": 4, "kv_heads": 2, "head_dim": 12,
                "qk_norm": {"type": "rms"}, "qk_norm_over": "all",
                "rope": {"theta": 10000}}},
    {"mixer": "glu", "pre_norm": {"type": "layer"}, "input": "block",
     "post_norm": {"type": "rms", "unit_offset": true},
     "config": {"hidden": 64}},
    {"mixer": "mlp", "input": "previous", "config": {"hidden": 32}}]}]})";

std::unique_ptr<Model> MakeModel(const char* text) {
  auto config = ParseModelConfig(Json::parse(text));
  CHECK(config.ok()) << config.status().message();
  auto model = Model::Create(std::move(config).value());
  CHECK(model.ok()) << model.status().message();
  (*model)->InitWeights(5);
  (*model)->SetTrainable(true);
  return std::move(model).value();
}

// Loss, logits and the gradients of every weight.
struct Outcome {
  std::vector<float> logits;
  float loss = 0.0f;
  std::map<std::string, Tensor> gradients;
};

Outcome RunOnce(const Model& model, Communicator* group) {
  const Batch batch = Batch::Of(
      {{3, 14, 15, 9, 26, 5, 35, 8, 60, 0, 7}, {1, 2, 3, 5, 8, 13, 21}});
  std::vector<int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
  targets.push_back(-1);
  ThreadPool pool(1);
  Tape tape;
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  ctx.tape = &tape;
  ctx.tensor_parallel = group;
  const Tensor logits = model.Forward(ctx);
  const Tensor loss = CrossEntropy(ctx, logits, targets);
  tape.Backward(ctx, loss);
  Outcome out;
  out.logits = logits.ToVector<float>();
  out.loss = loss.data<float>()[0];
  for (const std::string& path : model.paths()) {
    const Weight& weight = *model.Find(path);
    Tensor gradient = tape.WeightGradient(weight);
    if (!gradient.defined()) gradient = Tensor::Zeros(weight.shape());
    const bool norm = path.find("pre_norm") != std::string::npos ||
                      path.find("post_norm") != std::string::npos;
    const bool partial =
        path.starts_with("blocks.") && !norm && weight.spec().shard.axis < 0;
    if (group != nullptr && partial) group->AllReduceSum(&gradient);
    out.gradients[path] = gradient;
  }
  return out;
}

double RelativeError(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = a.ToVector<float>(), y = b.ToVector<float>();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
    norm += double(y[i]) * y[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-20));
}

class TensorParallelTest : public ::testing::TestWithParam<const char*> {};

// Two ranks compute what one does: logits, loss and every gradient. Sums over
// ranks associate differently, so the bound is that of fp32 rounding.
TEST_P(TensorParallelTest, TwoRanksEqualOne) {
  const std::unique_ptr<Model> whole = MakeModel(GetParam());
  const Outcome expected = RunOnce(*whole, nullptr);
  constexpr int kRanks = 2;
  auto group = MakeLocalGroup(kRanks);
  std::vector<std::unique_ptr<Model>> parts;
  for (int r = 0; r < kRanks; ++r) {
    auto part = ShardModel(*whole, r, kRanks);
    ASSERT_TRUE(part.ok()) << part.status().message();
    parts.push_back(std::move(part).value());
  }
  std::vector<Outcome> outcomes(kRanks);
  std::vector<std::thread> ranks;
  for (int r = 0; r < kRanks; ++r) {
    ranks.emplace_back(
        [&, r] { outcomes[r] = RunOnce(*parts[r], group[r].get()); });
  }
  for (std::thread& rank : ranks) rank.join();

  EXPECT_EQ(outcomes[0].logits, outcomes[1].logits);
  double worst = 0;
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    worst = std::max(
        worst, std::abs(double(outcomes[0].logits[i]) - expected.logits[i]));
  }
  EXPECT_LT(worst, 1e-6);
  EXPECT_NEAR(outcomes[0].loss, expected.loss, 1e-6);
  for (const std::string& path : whole->paths()) {
    const Weight& weight = *whole->Find(path);
    const Tensor& full = expected.gradients.at(path);
    ASSERT_GT(RelativeError(Tensor::Zeros(full.shape()), full), 0.5)
        << path << " has no gradient to compare";
    for (int r = 0; r < kRanks; ++r) {
      Tensor want = full;
      const int axis = weight.spec().shard.axis;
      if (path.starts_with("blocks.") && axis >= 0) {
        const int64_t part = full.dim(axis) / kRanks;
        want = full.Slice(axis, r * part, (r + 1) * part);
      }
      EXPECT_LT(RelativeError(outcomes[r].gradients.at(path), want), 2e-5)
          << path << " on rank " << r;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TensorParallelTest,
                         ::testing::Values(kLlama, kMixtral, kMamba2, kRetNet,
                                           kWired));

TEST(ShardModelTest, RefusesWhatDoesNotDivide) {
  const std::unique_ptr<Model> whole = MakeModel(kLlama);
  const auto part = ShardModel(*whole, 0, 3);
  ASSERT_FALSE(part.ok());
  EXPECT_NE(part.status().message().find("does not divide"), std::string::npos);
}

TEST(ModelConfigTest, SurvivesTheRoundTrip) {
  for (const char* text : {kMixtral, kWired}) {
    const auto config = ParseModelConfig(Json::parse(text));
    ASSERT_TRUE(config.ok());
    const auto again = ParseModelConfig(ToJson(*config));
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(ToJson(*again), ToJson(*config));
  }
}

TEST(ModelConfigTest, OlderFilesCallThePreNormNorm) {
  Json older = Json::parse(kWired), sound = older;
  Json& sublayer = older["blocks"][0]["sublayers"][1];
  sublayer["norm"] = sublayer["pre_norm"];
  sublayer.erase("pre_norm");
  EXPECT_EQ(ToJson(*ParseModelConfig(older)), ToJson(*ParseModelConfig(sound)));
  sublayer["pre_norm"] = sublayer["norm"];
  EXPECT_FALSE(ParseModelConfig(older).ok());
}

TEST(ModelConfigTest, RefusesInputsThatAreNotThere) {
  const Json sound = Json::parse(kWired);
  const auto refused = [&](int place, const char* field, const Json& value,
                           const char* names = "sublayers") {
    Json bad = sound;
    bad["blocks"][0]["sublayers"][place][field] = value;
    const auto result = ParseModelConfig(bad);
    ASSERT_FALSE(result.ok()) << field << value;
    EXPECT_NE(result.status().message().find(names), std::string::npos)
        << result.status().message();
  };
  refused(0, "input", "previous");
  refused(1, "input", "next");
  refused(2, "pre_norm", {{"type", "rms"}});
  refused(1, "post_norm", {{"type", "rsm"}}, "norm");
}

TEST(ModelConfigTest, RefusesWithTheFieldsName) {
  const Json good = Json::parse(kLlama);
  ASSERT_TRUE(ParseModelConfig(good).ok());
  auto refused = [&](const char* field, Json value) {
    Json bad = good;
    bad[field] = std::move(value);
    const auto result = ParseModelConfig(bad);
    EXPECT_FALSE(result.ok()) << field;
    if (!result.ok()) {
      EXPECT_NE(result.status().message().find(field), std::string::npos)
          << result.status().message();
    }
  };
  refused("intarsia", 2);
  refused("vocab_size", "many");
  refused("vocab_size", 0);
  refused("dim", -4);
  refused("blocks", Json::array());
  refused("hidden_szie", 3);
  EXPECT_FALSE(ParseModelConfig(Json::array()).ok());
}

TEST(ModelTest, UnknownPrimitiveAndBadWeightsAreErrors) {
  Json json = Json::parse(kLlama);
  json["blocks"][0]["sublayers"][0]["mixer"] = "telepathy";
  EXPECT_NE(Model::Create(*ParseModelConfig(json))
                .status()
                .message()
                .find("telepathy"),
            std::string::npos);
  auto model = Model::Create(*ParseModelConfig(Json::parse(kLlama)));
  ASSERT_TRUE(model.ok());
  EXPECT_FALSE((*model)->CheckComplete().ok());
  const Format& f32 = PlainFormat(DType::kF32);
  EXPECT_FALSE((*model)->SetWeight("head", f32, Tensor::Zeros({61, 47})).ok());
  EXPECT_FALSE((*model)->SetWeight("tail", f32, Tensor::Zeros({1})).ok());
  EXPECT_TRUE((*model)->SetWeight("head", f32, Tensor::Zeros({61, 48})).ok());
}

}  // namespace
}  // namespace intarsia
