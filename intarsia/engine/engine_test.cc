#include "intarsia/engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace intarsia {
namespace {

TEST(SamplerTest, GreedyTakesTheLowestOfTies) {
  const std::vector<float> logits = {1, 3, 3, 2};
  SamplingOptions options;
  options.temperature = 0.0f;
  EXPECT_EQ(Sampler(options).Sample(logits, {}).value(), 1);
}

TEST(SamplerTest, NonFiniteLogitsAreAnError) {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> logits = {1, bad, 0};
    EXPECT_FALSE(Sampler({}).Sample(logits, {}).ok());
  }
}

// Draws follow the softmax; the filters cut exactly where they should.
TEST(SamplerTest, FrequenciesMatchTheDistribution) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f};
  auto frequencies = [&](SamplingOptions options) {
    std::vector<int> counts(logits.size());
    constexpr int kDraws = 40000;
    Sampler sampler(options);
    std::vector<int32_t> history;
    for (int i = 0; i < kDraws; ++i) {
      history.push_back(3);
      ++counts[sampler.Sample(logits, history).value()];
    }
    std::vector<double> shares;
    for (int count : counts) shares.push_back(double(count) / kDraws);
    return shares;
  };
  SamplingOptions plain{
      .temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f};
  double total = 0;
  for (float x : logits) total += std::exp(x);
  const auto all = frequencies(plain);
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(all[i], std::exp(logits[i]) / total, 0.01) << i;
  }
  SamplingOptions two = plain;
  two.top_k = 2;
  const auto top2 = frequencies(two);
  EXPECT_NEAR(top2[2], 1 / (1 + std::exp(-1.0)), 0.01);
  EXPECT_EQ(top2[0] + top2[3], 0.0);
  SamplingOptions nucleus = plain;
  nucleus.top_p = 0.6f;  // the first token alone has 0.64
  EXPECT_EQ(frequencies(nucleus)[2], 1.0);
  SamplingOptions relative = plain;
  relative.min_p = 0.2f;  // e^-1 stays, e^-2 goes
  EXPECT_EQ(frequencies(relative)[0], 0.0);
  SamplingOptions hot = plain;
  hot.temperature = 2.0f;
  EXPECT_NEAR(frequencies(hot)[2] / frequencies(hot)[1], std::exp(0.5), 0.1);
}

TEST(SamplerTest, RepetitionIsPenalised) {
  const std::vector<float> logits = {2.0f, 1.9f, -1.0f};
  SamplingOptions options{.temperature = 0.0f, .repeat_penalty = 1.2f};
  EXPECT_EQ(Sampler(options).Sample(logits, {}).value(), 0);
  EXPECT_EQ(Sampler(options).Sample(logits, std::vector<int32_t>{0}).value(),
            1);
  options.repeat_last = 1;
  EXPECT_EQ(Sampler(options).Sample(logits, std::vector<int32_t>{0, 2}).value(),
            0);
}

TEST(SamplerTest, OptionsAreChecked) {
  EXPECT_TRUE(Validate({}).ok());
  EXPECT_FALSE(Validate({.temperature = -1.0f}).ok());
  EXPECT_FALSE(Validate({.top_p = 0.0f}).ok());
  EXPECT_FALSE(Validate({.min_p = std::nanf("")}).ok());
}

TEST(StopFilterTest, HoldsBackWhatCouldStop) {
  StopFilter filter({"STOP", "###"});
  EXPECT_EQ(filter.Push("one ST"), "one ");
  EXPECT_EQ(filter.Push("ART #"), "START ");
  EXPECT_EQ(filter.Push("# two S"), "## two ");
  EXPECT_EQ(filter.Push("TOP gone"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.Push("more"), "");
  StopFilter open({"END"});
  EXPECT_EQ(open.Push("the EN"), "the ");
  EXPECT_EQ(open.Finish(), "EN");
}

}  // namespace
}  // namespace intarsia
