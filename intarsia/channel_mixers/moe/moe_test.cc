#include "intarsia/channel_mixers/moe/moe.h"

#include <limits>
#include <numeric>

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectRanksAddUp;
using testing::ExpectRefused;
using testing::ExpectRowsIndependent;
using testing::MixerUnderTest;
using testing::Near;
using testing::RandomTensor;

MoeConfig Config(int experts, int top_k, bool normalize = true) {
  MoeConfig config;
  config.dim = 8;
  config.hidden = 6;
  config.experts = experts;
  config.top_k = top_k;
  config.normalize = normalize;
  return config;
}

TEST(MoeRouting, TakesTheLargestAndTheLowerOfEquals) {
  Context ctx;
  const Tensor logits = Tensor::From<float>(
      {1, 3, 3, 2, /**/ 0, 0, 0, 0, /**/ -5, 1, 9, 1}, {3, 4});
  const MoeRouting routing = RouteTokens(ctx, Config(4, 2), logits);
  EXPECT_EQ(routing.experts, (std::vector<int32_t>{1, 2, 0, 1, 2, 1}));
  const double second = 1 / (1 + std::exp(8.0));
  EXPECT_TRUE(
      Near(routing.weights, {0.5, 0.5, 0.5, 0.5, 1 - second, second}, 1e-6));
  const MoeRouting all = RouteTokens(ctx, Config(4, 2, false), logits);
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0);
  EXPECT_NEAR(all.weights.data<float>()[0], std::exp(3.0) / sum, 1e-6);
  EXPECT_NEAR(all.weights.data<float>()[2], 0.25, 1e-6);
}

TEST(MoeRouting, NanGoesSomewhereAndStaysVisible) {
  Context ctx;
  Tensor logits = Tensor::Full({2, 5}, NAN);
  logits.mutable_data<float>()[7] = 1.0f;
  const MoeRouting routing = RouteTokens(ctx, Config(5, 3), logits);
  for (int t = 0; t < 2; ++t) {
    std::vector<int32_t> chosen(routing.experts.begin() + 3 * t,
                                routing.experts.begin() + 3 * t + 3);
    std::sort(chosen.begin(), chosen.end());
    EXPECT_EQ(std::unique(chosen.begin(), chosen.end()), chosen.end());
    for (int32_t e : chosen) EXPECT_TRUE(e >= 0 && e < 5);
    EXPECT_TRUE(std::isnan(routing.weights.data<float>()[3 * t]));
  }
}

TEST(MoeRouting, TheBiasMovesTheChoiceAndNotTheWeights) {
  Context ctx;
  const Tensor logits = Tensor::From<float>({2, 1, 0, -1}, {1, 4});
  MoeConfig config = Config(4, 2);
  config.score = RouterScore::kSigmoid;
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double sum = sigmoid(2) + sigmoid(-1);
  const Weight bias = Weight::F32({.name = "select_bias", .shape = {4}},
                                  Tensor::From<float>({0, 0, 0, 5}, {4}));
  const MoeRouting routing = RouteTokens(ctx, config, logits, &bias);
  EXPECT_EQ(routing.experts, (std::vector<int32_t>{3, 0}));
  EXPECT_TRUE(
      Near(routing.weights, {sigmoid(-1) / sum, sigmoid(2) / sum}, 1e-6));
}

TEST(MoeRouting, ExpertsComeFromTheBestGroups) {
  Context ctx;
  // Groups of two: the first has the best expert, the last the best pair.
  const Tensor logits = Tensor::From<float>({4, -4, 1, 0, 3, 2}, {1, 6});
  MoeConfig config = Config(6, 2);
  config.groups = 3;
  config.score = RouterScore::kSigmoid;
  EXPECT_EQ(RouteTokens(ctx, config, logits).experts,
            (std::vector<int32_t>{0, 1}));
  config.group_score = GroupScore::kTopTwo;
  EXPECT_EQ(RouteTokens(ctx, config, logits).experts,
            (std::vector<int32_t>{4, 5}));
  config.top_groups = 2;
  EXPECT_EQ(RouteTokens(ctx, config, logits).experts,
            (std::vector<int32_t>{4, 5}));
  config.group_score = GroupScore::kMax;
  EXPECT_EQ(RouteTokens(ctx, config, logits).experts,
            (std::vector<int32_t>{0, 4}));
}

TEST(MoeRouting, SparseMixerLooksAtWhatIsNear) {
  Context ctx;
  const Tensor logits = Tensor::From<float>({2, 1.95f, 1, -3}, {1, 4});
  MoeConfig config = Config(4, 2);
  config.sparse_mixer = 0.02f;
  const MoeRouting routing = RouteTokens(ctx, config, logits);
  EXPECT_EQ(routing.experts, (std::vector<int32_t>{0, 1}));
  // The second is near the first; the third is near nobody.
  EXPECT_TRUE(Near(routing.weights, {1 / (1 + std::exp(-0.05)), 1.0}, 1e-6));
}

TEST(MoeDispatch, SortsByExpertAndKeepsTokenOrder) {
  MoeRouting routing;
  routing.experts = {2, 0, 2, 3, 0, 2};
  routing.weights = Tensor::Full({3, 2}, 0.5f);
  const MoeDispatch dispatch = DispatchTokens(Config(5, 2), routing);
  EXPECT_EQ(dispatch.offsets, (std::vector<int32_t>{0, 2, 2, 5, 6, 6}));
  EXPECT_EQ(dispatch.places, (std::vector<int32_t>{1, 4, 0, 2, 5, 3}));
  EXPECT_EQ(dispatch.tokens, (std::vector<int32_t>{0, 2, 0, 1, 2, 1}));
}

constexpr char kTopOne[] = R"({"experts": 4, "top_k": 1, "hidden": 6})";
constexpr char kMixtral[] = R"({"experts": 8, "top_k": 2, "hidden": 12})";

// Inputs are positive, so that a router of one large row sends every token to
// its expert.
MixerUnderTest Rigged(int expert) {
  MixerUnderTest moe(&CreateMoe, kTopOne, 8);
  float* router = moe.weights[0].mutable_values().mutable_data<float>();
  for (int i = 0; i < 8; ++i) router[expert * 8 + i] = 20.0f;
  return moe;
}

TEST(Moe, OneExpertGetsEverythingAndTheOthersNothing) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{40, 3});
  for (int expert : {0, 2, 3}) {
    MixerUnderTest moe = Rigged(expert);
    Tensor x = moe.Input(batch);
    for (int64_t i = 0; i < x.numel(); ++i) {
      float* value = x.mutable_data<float>() + i;
      *value = std::abs(*value) + 0.1f;
    }
    testing::Poisoned poisoned;
    EXPECT_TRUE(
        Near(moe.Run(batch, x, moe.weights), moe.Reference(batch, x), 2e-6));
    Context ctx;
    ctx.batch = &batch;
    std::vector<Weight*> trainable;
    std::vector<const Weight*> handles;
    for (Weight& w : moe.weights) {
      trainable.push_back(&w);
      handles.push_back(&w);
    }
    ctx.weights = handles;
    // An untouched expert's gradient is zero, which the check compares too. The
    // router's step could move tokens; a choice of one has no gradient there.
    trainable.erase(trainable.begin());
    ExpectGradients(ctx, {x}, trainable,
                    [&](Context& c, const std::vector<Tensor>& in) {
                      return moe.mixer->Forward(c, in[0]);
                    });
  }
}

TEST(Moe, RowsHaveTheSameBitsInAnyBatch) {
  const MixerUnderTest moe(&CreateMoe, kMixtral, 16);
  ThreadPool pool(2);
  const Tensor x = moe.Input(Batch::OfLengths(std::vector<int32_t>{33}));
  ExpectRowsIndependent(x, [&](const Tensor& rows) {
    const Batch batch = Batch::OfLengths(
        std::vector<int32_t>{static_cast<int32_t>(rows.dim(0))});
    return moe.Run(batch, rows, moe.weights, &pool);
  });
}

TEST(Moe, ExpertsInAnyFormat) {
  const MixerUnderTest moe(&CreateMoe,
                           R"({"experts": 6, "top_k": 2, "hidden": 64})", 32);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{50});
  const Tensor x = moe.Input(batch);
  ThreadPool pool(2);
  const std::vector<double> want = moe.Reference(batch, x);
  const std::pair<const char*, double> formats[] = {
      {"bf16", 2e-2}, {"f16", 2e-3}, {"q8_0", 3e-2}};
  for (const auto& [name, tolerance] : formats) {
    const Format* format = FindFormat(name);
    ASSERT_NE(format, nullptr) << name;
    // The router stays exact: another choice is another function.
    std::vector<Weight> weights = {moe.weights[0]};
    for (size_t i = 1; i < moe.weights.size(); ++i) {
      weights.emplace_back(moe.weights[i].spec(), format,
                           format->Quantize(pool, moe.weights[i].values()));
    }
    EXPECT_TRUE(Near(moe.Run(batch, x, weights, &pool), want, tolerance))
        << name;
  }
}

TEST(Moe, RanksThatShareExpertsAddUp) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{20});
  const MixerUnderTest moe(&CreateMoe,
                           R"({"experts": 5, "top_k": 2, "hidden": 12,
                               "shared_hidden": 24})",
                           16);
  for (int size : {2, 3, 4}) ExpectRanksAddUp(moe, batch, size);
}

// Two ranks with half of the experts each: rows go where their expert is and
// come back, the four steps around an exchange.
TEST(Moe, RanksThatSplitExpertsAreBitwiseTheWhole) {
  const MixerUnderTest moe(&CreateMoe, kMixtral, 16);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{70});
  const Tensor x = moe.Input(batch);
  MoeConfig config = Config(8, 2);
  config.dim = 16;
  config.hidden = 12;
  Context ctx;
  ctx.batch = &batch;
  Tensor logits = Tensor::Empty({70, 8});
  for (int64_t i = 0; i < logits.numel(); ++i) {
    double sum = 0;
    for (int64_t d = 0; d < 16; ++d) {
      sum += double{moe.weights[0].f32()[i % 8 * 16 + d]} *
             x.data<float>()[i / 8 * 16 + d];
    }
    logits.mutable_data<float>()[i] = static_cast<float>(sum);
  }
  const MoeRouting routing = RouteTokens(ctx, config, logits);
  const MoeDispatch dispatch = DispatchTokens(config, routing);
  Tensor rows = Tensor::Empty({140, 16});
  for (int64_t i = 0; i < 140; ++i) {
    rows.Slice(0, i, i + 1)
        .CopyFrom(x.Slice(0, dispatch.tokens[i], dispatch.tokens[i] + 1));
  }
  const Tensor whole =
      ComputeExperts(ctx, config, rows, dispatch.offsets,
                     {&moe.weights[1], &moe.weights[2], &moe.weights[3]});
  Tensor joined = Tensor::Empty(whole.shape());
  for (int rank = 0; rank < 2; ++rank) {
    const auto local = [&](int i) {
      WeightSpec spec = moe.weights[i].spec();
      spec.shape = spec.shape.With(0, 4);
      return Weight::F32(
          spec, moe.weights[i].values().Slice(0, 4 * rank, 4 * rank + 4));
    };
    const Weight gate = local(1), up = local(2), down = local(3);
    const int32_t* from = dispatch.offsets.data() + 4 * rank;
    std::vector<int32_t> offsets(from, from + 5);
    const int32_t begin = offsets.front(), end = offsets.back();
    for (int32_t& offset : offsets) offset -= begin;
    joined.Slice(0, begin, end)
        .CopyFrom(ComputeExperts(ctx, config, rows.Slice(0, begin, end),
                                 offsets, {&gate, &up, &down}));
  }
  EXPECT_TRUE(BitwiseEqual(joined, whole));
  EXPECT_TRUE(Near(CombineExperts(ctx, joined, dispatch, routing.weights),
                   moe.Reference(batch, x), 2e-6));
}

TEST(Moe, RoutingGradients) {
  Random random(9);
  Context ctx;
  // Logits far enough apart that the differences choose the same experts.
  Tensor logits = RandomTensor(random, {12, 6}, 0.05f);
  for (int64_t i = 0; i < logits.numel(); ++i) {
    logits.mutable_data<float>()[i] += static_cast<float>(i * 5 % 6) * 0.4f;
  }
  for (bool normalize : {true, false}) {
    for (int k : {1, 2, 6}) {
      if (k == 1 && normalize) continue;  // constant weights
      ExpectGradients(
          ctx, {logits}, {}, [&](Context& c, const std::vector<Tensor>& in) {
            return RouteTokens(c, Config(6, k, normalize), in[0]).weights;
          });
    }
  }
}

TEST(Moe, RoutingGradientsOfEveryScore) {
  Random random(10);
  Context ctx;
  Tensor logits = RandomTensor(random, {9, 6}, 0.05f);
  for (int64_t i = 0; i < logits.numel(); ++i) {
    logits.mutable_data<float>()[i] += static_cast<float>(i * 5 % 6) * 0.4f;
  }
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid,
                            RouterScore::kSqrtSoftplus}) {
    for (float eps : {-1.0f, 0.0f, 0.3f}) {
      MoeConfig config = Config(6, 3, eps >= 0);
      config.score = score;
      config.normalize_eps = std::max(eps, 0.0f);
      config.routed_scale = 1.7f;
      ExpectGradients(ctx, {logits}, {},
                      [&](Context& c, const std::vector<Tensor>& in) {
                        return RouteTokens(c, config, in[0]).weights;
                      });
    }
  }
  MoeConfig config = Config(6, 2);
  config.sparse_mixer = 0.23f;
  ExpectGradients(ctx, {logits}, {},
                  [&](Context& c, const std::vector<Tensor>& in) {
                    return RouteTokens(c, config, in[0]).weights;
                  });
}

TEST(Moe, RefusesBadConfigurations) {
  ExpectRefused(&CreateMoe,
                R"({"experts": 6, "top_k": 3, "hidden": 4, "groups": 3})",
                "must have \"top_k\" experts");
  ExpectRefused(&CreateMoe,
                R"({"experts": 4, "top_k": 2, "hidden": 4, "gated": false,
                    "up_offset": 1})",
                "\"gated\"");
  ExpectRefused(&CreateMoe,
                R"({"experts": 4, "top_k": 2, "hidden": 4,
                    "router_score": "tanh"})",
                "tanh");
  ExpectRefused(&CreateMoe, R"({"top_k": 2, "hidden": 4})",
                "[moe] \"experts\" is missing");
  ExpectRefused(&CreateMoe, R"({"experts": 2, "top_k": 3, "hidden": 4})",
                "is more than there are");
  ExpectRefused(&CreateMoe,
                R"({"experts": 4, "top_k": 2, "hidden": 4,
                    "router_softmax": "during"})",
                "during");
  ExpectRefused(&CreateMoe,
                R"({"experts": 4, "top_k": 2, "hidden": 4, "capacity": 1})",
                "capacity");
}

}  // namespace
}  // namespace intarsia
