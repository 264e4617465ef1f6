#include "intarsia/mixers/retention/retention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

TEST(Retention, DecaysFollowTheHeadsNumber) {
  const Tensor decay = RetentionLogDecay(0, 4), later = RetentionLogDecay(2, 2);
  EXPECT_FLOAT_EQ(std::exp(decay.data<float>()[0]), 31.0f / 32.0f);
  EXPECT_FLOAT_EQ(std::exp(decay.data<float>()[1]), 63.0f / 64.0f);
  EXPECT_EQ(later.data<float>()[0], decay.data<float>()[2]);
  EXPECT_EQ(later.data<float>()[1], decay.data<float>()[3]);
}

// One head of one channel: S_2 = γ S_1 + k v by hand.
TEST(Retention, TwoTokensByHand) {
  ThreadPool pool(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{2});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  auto column = [](float a, float b) {
    return Tensor::From(std::vector<float>{a, b}, {2, 1, 1});
  };
  GatedLinearOptions options;
  options.scale = 0.5f;
  const Tensor state = Tensor::From(std::vector<float>{4.0f}, {1, 1, 1, 1});
  const GatedLinearResult r = RetentionCore(ctx, column(2, 3), column(5, 7),
                                            column(11, 13), state, options);
  const float gamma = 31.0f / 32.0f;
  const float s1 = gamma * 4 + 5 * 11, s2 = gamma * s1 + 7 * 13;
  EXPECT_FLOAT_EQ(r.out.data<float>()[0], 0.5f * 2 * s1);
  EXPECT_FLOAT_EQ(r.out.data<float>()[1], 0.5f * 3 * s2);
  EXPECT_FLOAT_EQ(r.state.data<float>()[0], s2);
  EXPECT_FLOAT_EQ(r.decay.data<float>()[0], gamma * gamma);
}

TEST(Retention, ConfigurationsAreChecked) {
  auto message = [](const char* config) {
    const auto parsed = ParseFields<RetentionConfig>(Json::parse(config),
                                                     "retention", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(R"({"heads": 2, "key_dim": 8, "value_dim": 8})"), "");
  EXPECT_NE(message(R"({"heads": 0, "key_dim": 8, "value_dim": 8})")
                .find("\"heads\""),
            std::string::npos);
  EXPECT_NE(message(R"({"heads": 2, "value_dim": 8})").find("\"key_dim\""),
            std::string::npos);
  EXPECT_NE(message(R"({"heads": 2, "key_dim": 7, "value_dim": 8})")
                .find("even \"key_dim\""),
            std::string::npos);
  EXPECT_EQ(message(R"({"heads": 2, "key_dim": 7, "value_dim": 8,
                        "rope": false})"),
            "");
  EXPECT_NE(message(R"({"heads": 2, "key_dim": 8, "value_dim": 8,
                        "gate": "no such"})"),
            "");
  const auto config = ParseFields<RetentionConfig>(
      Json::parse(R"({"heads": 1, "key_dim": 16, "value_dim": 8,
                      "gate": false})"),
      "retention", {.dim = 16});
  ASSERT_TRUE(config.ok());
  EXPECT_FLOAT_EQ(config.value().scale, 0.25f);
  EXPECT_FALSE(config.value().gate.has_value());
}

TEST(Retention, WeightsFollowTheConfiguration) {
  const auto mixer =
      CreateRetention(Json::parse(R"({"heads": 2, "key_dim": 4, "value_dim": 6,
                      "norm": {"type": "layer"}, "gate": false})"),
                      10);
  ASSERT_TRUE(mixer.ok());
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.value()->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "q_proj[8, 10]", "k_proj[8, 10]", "v_proj[12, 10]",
                       "norm[6]", "norm_bias[6]", "o_proj[10, 12]"}));
  EXPECT_EQ(mixer.value()->state().at(0).shape, Shape({2, 4, 6}));
}

}  // namespace
}  // namespace intarsia
