#include "intarsia/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace intarsia {
namespace {

using Ids = std::vector<int32_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Nothing on but the temperature.
SamplingOptions Plain() {
  return {.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f};
}

SamplingOptions PlainGreedy() {
  SamplingOptions options = Plain();
  options.temperature = 0.0f;
  return options;
}

int32_t Choose(const SamplingOptions& options, const std::vector<float>& logits,
               const Ids& history = {}) {
  return Sampler(options).Sample(logits, history).value();
}

constexpr int kDraws = 40000;

std::vector<double> Shares(const SamplingOptions& options,
                           const std::vector<float>& logits) {
  std::vector<double> shares(logits.size());
  Sampler sampler(options);
  const Ids history(kDraws, static_cast<int32_t>(logits.size()) - 1);
  for (int i = 0; i < kDraws; ++i) {
    shares[sampler.Sample(logits, std::span(history).first(i)).value()] += 1;
  }
  for (double& share : shares) share /= kDraws;
  return shares;
}

// The softmax of the logits at a temperature, over the ids in `kept`.
std::vector<double> Expected(const std::vector<float>& logits, const Ids& kept,
                             double temperature = 1.0) {
  std::vector<double> out(logits.size());
  for (const int32_t id : kept) out[id] = std::exp(logits[id] / temperature);
  const double total = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& p : out) p /= total;
  return out;
}

// Pearson's statistic stays under the 0.9999 quantile of its distribution, and
// what was cut never comes.
void ExpectShares(const SamplingOptions& options,
                  const std::vector<float>& logits,
                  const std::vector<double>& expected) {
  const std::vector<double> shares = Shares(options, logits);
  double statistic = 0;
  int freedom = -1;
  for (size_t i = 0; i < shares.size(); ++i) {
    if (expected[i] == 0.0) {
      EXPECT_EQ(shares[i], 0.0) << "token " << i;
      continue;
    }
    const double d = shares[i] - expected[i];
    statistic += kDraws * d * d / expected[i];
    ++freedom;
  }
  // Wilson and Hilferty 1931; 3.719 is the normal quantile.
  const double n = std::max(1, freedom);
  const double quantile =
      n * std::pow(1 - 2 / (9 * n) + 3.719 * std::sqrt(2 / (9 * n)), 3);
  EXPECT_LT(statistic, quantile);
}

const std::vector<float> kLogits = {0.0f, 1.0f, 2.0f, -1.0f, 0.5f};

TEST(SamplerTest, GreedyTakesTheLowestOfTies) {
  EXPECT_EQ(Choose(PlainGreedy(), {1, 3, 3, 2}), 1);
}

TEST(SamplerTest, NonFiniteLogitsAreAnError) {
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
    EXPECT_FALSE(Sampler({}).Sample(std::vector<float>{1, bad, 0}, {}).ok());
  }
}

TEST(SamplerTest, DrawsFollowTheSoftmax) {
  ExpectShares(Plain(), kLogits, Expected(kLogits, {0, 1, 2, 3, 4}));
  SamplingOptions hot = Plain();
  hot.temperature = 2.0f;
  ExpectShares(hot, kLogits, Expected(kLogits, {0, 1, 2, 3, 4}, 2.0));
  SamplingOptions cold = Plain();
  cold.temperature = 0.5f;
  ExpectShares(cold, kLogits, Expected(kLogits, {0, 1, 2, 3, 4}, 0.5));
}

TEST(SamplerTest, TopKKeepsTheLikeliest) {
  SamplingOptions options = Plain();
  options.top_k = 2;
  ExpectShares(options, kLogits, Expected(kLogits, {1, 2}));
  options.top_k = 100;
  ExpectShares(options, kLogits, Expected(kLogits, {0, 1, 2, 3, 4}));
}

// Probabilities: 2: 0.547, 1: 0.201, 4: 0.122, 0: 0.074, 3: 0.027 (of 0.97).
TEST(SamplerTest, TopPKeepsTheSmallestSetThatHoldsTheMass) {
  SamplingOptions options = Plain();
  options.top_p = 0.5f;
  ExpectShares(options, kLogits, Expected(kLogits, {2}));
  options.top_p = 0.7f;
  ExpectShares(options, kLogits, Expected(kLogits, {1, 2}));
  options.top_p = 0.8f;
  ExpectShares(options, kLogits, Expected(kLogits, {1, 2, 4}));
}

TEST(SamplerTest, MinPIsRelativeToTheLikeliest) {
  SamplingOptions options = Plain();
  options.min_p = 0.2f;  // e^-1 = 0.37 and e^-1.5 = 0.22 stay, e^-2 goes
  ExpectShares(options, kLogits, Expected(kLogits, {1, 2, 4}));
}

TEST(SamplerTest, TypicalPrefersInformationNearTheEntropy) {
  // p = 0.5, 0.25, 0.125, 0.125: entropy 1.75 bits; informations 1, 2, 3, 3, so
  // nearest first: the second (0.25), the first (0.75), then the others.
  const float l2 = std::log(2.0f);
  const std::vector<float> logits = {-l2, -2 * l2, -3 * l2, -3 * l2};
  SamplingOptions options = Plain();
  options.typical_p = 0.2f;
  ExpectShares(options, logits, Expected(logits, {1}));
  options.typical_p = 0.7f;
  ExpectShares(options, logits, Expected(logits, {0, 1}));
  options.typical_p = 0.8f;  // a tie: the lower id
  ExpectShares(options, logits, Expected(logits, {0, 1, 2}));
}

TEST(SamplerTest, FiltersFollowOneAnother) {
  SamplingOptions options = Plain();
  options.top_k = 3;     // 2, 1, 4
  options.top_p = 0.8f;  // of what is left: 0.63 + 0.23 >= 0.8
  ExpectShares(options, kLogits, Expected(kLogits, {1, 2}));
}

TEST(SamplerTest, LogitBiasIsAdded) {
  SamplingOptions options = Plain();
  options.logit_bias = {{0, 1.5f}, {2, -kInfinity}};
  std::vector<float> biased = kLogits;
  biased[0] += 1.5f;
  ExpectShares(options, kLogits, Expected(biased, {0, 1, 3, 4}));
  options.temperature = 0.0f;
  EXPECT_EQ(Choose(options, kLogits), 0);
  options.logit_bias = {{5, 1.0f}};
  EXPECT_FALSE(Sampler(options).Sample(kLogits, {}).ok());
  options.logit_bias.clear();
  for (int32_t id = 0; id < 5; ++id) {
    options.logit_bias.emplace_back(id, -kInfinity);
  }
  EXPECT_FALSE(Sampler(options).Sample(kLogits, {}).ok());
}

TEST(SamplerTest, RepetitionIsPenalised) {
  const std::vector<float> logits = {2.0f, 1.9f, -1.0f};
  SamplingOptions options = PlainGreedy();
  options.repeat_penalty = 1.2f;
  EXPECT_EQ(Choose(options, logits), 0);
  EXPECT_EQ(Choose(options, logits, {0}), 1);
  options.repeat_last = 1;
  EXPECT_EQ(Choose(options, logits, {0, 2}), 0);
  // A negative logit sinks too.
  options.repeat_last = -1;
  EXPECT_EQ(Choose(options, {-1.0f, -1.1f}, {0}), 1);
}

TEST(SamplerTest, PresenceCountsOnceAndFrequencyEachTime) {
  SamplingOptions options = Plain();
  options.presence_penalty = 0.5f;
  options.repeat_last = 3;
  std::vector<float> logits = {1.0f, 1.0f, 1.0f};
  const auto after = [&](const Ids& history) {
    // By greedy choice against a third token at a known level.
    SamplingOptions greedy = options;
    greedy.temperature = 0.0f;
    std::vector<int32_t> chosen;
    for (const float level : {-0.6f, 0.1f, 0.4f, 0.6f, 0.9f}) {
      logits = {1.0f, level};
      chosen.push_back(Choose(greedy, logits, history));
    }
    return chosen;
  };
  EXPECT_EQ(after({0, 0, 0}), (Ids{0, 0, 0, 1, 1}));  // 0.5
  options.frequency_penalty = 0.25f;
  EXPECT_EQ(after({0}), (Ids{0, 0, 1, 1, 1}));        // 0.25
  EXPECT_EQ(after({0, 0, 0}), (Ids{0, 1, 1, 1, 1}));  // -0.25
  // Only the last three are looked back on.
  EXPECT_EQ(after({0, 9, 9, 9}), (Ids{0, 0, 0, 0, 0}));
}

// By how much DRY lowers each token after `history`.
std::vector<float> DryPenalties(SamplingOptions options, const Ids& history,
                                int vocabulary) {
  std::vector<float> penalties;
  options.temperature = 0.0f;
  for (int32_t id = 0; id < vocabulary; ++id) {
    // Bisection on the level of one other token, the only rival.
    float low = -100.0f, high = 1.0f;
    for (int step = 0; step < 40; ++step) {
      const float level = 0.5f * (low + high);
      std::vector<float> logits(vocabulary + 1, -1e6f);
      logits[id] = 0.0f;
      logits[vocabulary] = level;
      (Choose(options, logits, history) == id ? low : high) = level;
    }
    penalties.push_back(-low);
  }
  return penalties;
}

TEST(SamplerTest, DryPenalisesWhatWouldGoOnRepeating) {
  SamplingOptions options = Plain();
  options.dry_multiplier = 0.5f;
  options.dry_base = 2.0f;
  options.dry_allowed_length = 2;
  // "... 1 2 3 4 ... 1 2 3": 4 continues a repetition of 3 tokens.
  const Ids history = {1, 2, 3, 4, 0, 5, 1, 2, 3};
  const std::vector<float> expected = {0, 0, 0, 0, 1.0f, 0};
  const auto near = [](const std::vector<float>& a,
                       const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4) << i;
  };
  near(DryPenalties(options, history, 6), expected);
  // Shorter than allowed: nothing.
  options.dry_allowed_length = 4;
  near(DryPenalties(options, history, 6), {0, 0, 0, 0, 0, 0});
  // A breaker inside the repetition shortens it to 2: 0.5 · 2^0.
  options.dry_allowed_length = 2;
  options.dry_breakers = {1};
  near(DryPenalties(options, history, 6), {0, 0, 0, 0, 0.5f, 0});
  options.dry_breakers = {3};
  near(DryPenalties(options, history, 6), {0, 0, 0, 0, 0, 0});
  // Out of sight.
  options.dry_breakers.clear();
  options.dry_last = 5;
  near(DryPenalties(options, history, 6), {0, 0, 0, 0, 0, 0});
  // The longest of several occurrences counts: after 7 7 7, another 7.
  options.dry_last = -1;
  near(DryPenalties(options, {0, 7, 7, 7, 7}, 8),
       {0, 0, 0, 0, 0, 0, 0, 0.5f * 2.0f});
}

TEST(SamplerTest, DryForbidsLongLoopsWithoutOverflow) {
  SamplingOptions options = Plain();
  options.dry_multiplier = 1.0f;
  const Ids loop(5000, 0);
  EXPECT_EQ(Choose(options, {100.0f, 0.0f}, loop), 1);
}

TEST(SamplerTest, TheDrawDependsOnSeedAndLengthAlone) {
  const auto text = [](uint64_t seed) {
    SamplingOptions options = Plain();
    options.seed = seed;
    Sampler sampler(options);
    Ids history;
    for (int i = 0; i < 50; ++i) {
      history.push_back(sampler.Sample(kLogits, history).value());
    }
    return history;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST(SamplerTest, OptionsAreChecked) {
  EXPECT_TRUE(Validate({}).ok());
  EXPECT_TRUE(Validate(Plain()).ok());
  EXPECT_FALSE(Validate({.temperature = -1.0f}).ok());
  EXPECT_FALSE(Validate({.top_p = 0.0f}).ok());
  EXPECT_FALSE(Validate({.min_p = std::nanf("")}).ok());
  EXPECT_FALSE(Validate({.typical_p = 0.0f}).ok());
  EXPECT_FALSE(Validate({.presence_penalty = kInfinity}).ok());
  EXPECT_FALSE(Validate({.dry_multiplier = -1.0f}).ok());
  EXPECT_FALSE(Validate({.dry_base = 0.5f}).ok());
  EXPECT_FALSE(Validate({.dry_allowed_length = 0}).ok());
  EXPECT_FALSE(Validate({.logit_bias = {{-1, 0.0f}}}).ok());
  EXPECT_FALSE(Validate({.logit_bias = {{1, kInfinity}}}).ok());
}

}  // namespace
}  // namespace intarsia
