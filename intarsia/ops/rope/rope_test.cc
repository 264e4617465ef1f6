#include "intarsia/ops/rope/rope.h"

#include <nlohmann/json.hpp>

#include "intarsia/ops/common/testing.h"
#include "intarsia/ops/rope/rope_cpu.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Near;
using testing::Poisoned;
using testing::RandomTensor;

Batch AtPositions(const std::vector<int32_t>& positions) {
  Batch batch;
  for (int32_t p : positions) batch.Add(std::vector<int32_t>{0}, p);
  return batch;
}

std::vector<double> Plain(const Tensor& x, const std::vector<int32_t>& at,
                          const RopeConfig& config) {
  const std::vector<float> v = x.ToVector<float>();
  std::vector<double> y(v.begin(), v.end());
  const int64_t heads = x.dim(1), dim = x.dim(2);
  const int64_t rotated = config.dim == 0 ? dim : config.dim;
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < rotated / 2; ++i) {
        const double angle = at[t] * std::pow(config.theta, -2.0 * i / rotated);
        const int64_t row = (t * heads + h) * dim;
        const int64_t a = row + (config.interleaved ? 2 * i : i);
        const int64_t b =
            row + (config.interleaved ? 2 * i + 1 : i + rotated / 2);
        y[a] = v[a] * std::cos(angle) - v[b] * std::sin(angle);
        y[b] = v[b] * std::cos(angle) + v[a] * std::sin(angle);
      }
    }
  }
  return y;
}

TEST(RopeTest, EqualsTheDefinition) {
  const Poisoned poisoned;
  Random random(1);
  const std::vector<int32_t> at = {0, 1, 2, 37, 5, 30};
  const Batch batch = AtPositions(at);
  Context ctx;
  ctx.batch = &batch;
  for (bool interleaved : {false, true}) {
    for (const auto& [head, rotated] :
         {std::pair<int, int>{2, 0}, {64, 0}, {22, 0}, {50, 34}}) {
      RopeConfig config;
      config.interleaved = interleaved;
      config.dim = rotated;
      const Tensor x = RandomTensor(random, {6, 3, head});
      // Angles are fp32: at position 37 they err by 2e-6.
      const std::vector<double> expected = Plain(x, at, config);
      EXPECT_TRUE(Near(Rope(ctx, x, config), expected, 1e-5));
      EXPECT_TRUE(
          BitwiseEqual(Rope(ctx, AsColumns(x), config), Rope(ctx, x, config)));
    }
  }
  RopeConfig off;
  off.enabled = false;
  const Tensor x = RandomTensor(random, {6, 3, 8});
  EXPECT_EQ(Rope(ctx, x, off).storage(), x.storage());
}

TEST(RopeTest, AnglesAreExactForAllPositions) {
  // Of the fp32 angle, cosine and sine are good to an ulp, however far.
  const std::vector<float> frequencies = {1.0f,  0.8f,    0.31f, 1e-1f, 3e-2f,
                                          1e-3f, 2.5e-4f, 1e-7f, 0.0f};
  const int64_t n = static_cast<int64_t>(frequencies.size());
  std::vector<float> cosine(n, NAN), sine(n, NAN);
  for (int position = 0; position < 4000000; position += 1 + position / 50) {
    rope::Angles(n, static_cast<float>(position), frequencies.data(), 1.0f,
                 cosine.data(), sine.data());
    for (int64_t i = 0; i < n; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      ASSERT_NEAR(cosine[i], std::cos(double{angle}), 1.2e-7) << angle;
      ASSERT_NEAR(sine[i], std::sin(double{angle}), 1.2e-7) << angle;
    }
  }
}

TEST(RopeTest, ARowDependsOnItsPositionOnly) {
  Random random(2);
  const Tensor x = RandomTensor(random, {40, 2, 48});
  RopeConfig config;
  const Batch whole = Batch::OfLengths(std::vector<int32_t>{40});
  Context ctx;
  ctx.batch = &whole;
  const Tensor y = Rope(ctx, x, config);
  for (int t = 0; t < 40; ++t) {
    const Batch one = AtPositions({t});
    Context alone;
    alone.batch = &one;
    EXPECT_TRUE(BitwiseEqual(Rope(alone, x.Slice(0, t, t + 1), config),
                             y.Slice(0, t, t + 1)));
  }
  ExpectSameBitsOnAnyThreads(
      ctx, [&](Context& ctx) { return Rope(ctx, x, config); });
}

TEST(RopeTest, Gradients) {
  Random random(3);
  const Batch batch = AtPositions({4, 0, 91, 7});
  Context ctx;
  ctx.batch = &batch;
  RopeConfig config;
  config.dim = 12;
  config.scaling = RopeConfig::Scaling::kYarn;
  config.factor = 4;
  config.original_max_positions = 128;
  for (bool interleaved : {false, true}) {
    config.interleaved = interleaved;
    ExpectGradients(ctx, {RandomTensor(random, {4, 3, 16})}, {},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return Rope(ctx, in[0], config);
                    });
  }
}

struct Recorded {
  const char* rope;
  int head_dim;
  int64_t length;
  double scale;
  std::vector<float> frequencies;
};

TEST(RopeFrequenciesTest, AreThoseOfTransformers) {
  const std::vector<Recorded> recorded = {
#include "intarsia/ops/rope/rope_frequencies.inc"
  };
  for (const Recorded& r : recorded) {
    const Result<RopeConfig> config =
        ParseRope(nlohmann::json::parse(r.rope), r.head_dim, "test");
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_FLOAT_EQ(RopeScale(*config), static_cast<float>(r.scale)) << r.rope;
    const std::vector<float> ours =
        RopeFrequencies(*config, r.head_dim, r.length);
    ASSERT_EQ(ours.size(), r.frequencies.size());
    for (size_t i = 0; i < ours.size(); ++i) {
      // Both round each operation to fp32; powers differ in the last bit.
      EXPECT_NEAR(ours[i], r.frequencies[i], 3e-7 * r.frequencies[i])
          << r.rope << " at " << r.length << ", pair " << i;
    }
  }
}

TEST(RopeFrequenciesTest, FactorsDivideBeforeScaling) {
  RopeConfig config;
  config.factors = {1, 2, 8, 32};
  const std::vector<float> plain = RopeFrequencies(RopeConfig(), 8);
  const std::vector<float> divided = RopeFrequencies(config, 8);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(divided[i], plain[i] / config.factors[i]);
  EXPECT_EQ(RopeScale(config), 1.0f);
  config.attention_factor = 1.25;
  EXPECT_EQ(RopeScale(config), 1.25f);
  config.scaling = RopeConfig::Scaling::kLinear;
  config.factor = 2;
  const std::vector<float> both = RopeFrequencies(config, 8);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(both[i], divided[i] / 2);
}

// Each sequence is turned by its own length, in pieces too when they know it.
TEST(RopeTest, LengthsAreOfTheSequence) {
  Random random(5);
  RopeConfig config;
  config.scaling = RopeConfig::Scaling::kLongRope;
  config.original_max_positions = 20;
  config.factor = 4;
  config.factors = {1, 1.5, 2, 3};
  config.long_factors = {1, 4, 16, 64};
  for (const bool dynamic : {false, true}) {
    if (dynamic) {
      config.scaling = RopeConfig::Scaling::kDynamic;
      config.factors = config.long_factors = {};
    }
    const Tensor x = RandomTensor(random, {35, 2, 8});
    const Batch both = Batch::OfLengths(std::vector<int32_t>{10, 25});
    Context ctx;
    ctx.batch = &both;
    const Tensor y = Rope(ctx, x, config);
    RopeConfig fixed;  // what the longer one has
    fixed.attention_factor = RopeScale(config);
    fixed.factors = config.long_factors;
    if (dynamic) {
      fixed.theta *= std::pow(4.0 * 25 / 20 - 3, 8.0 / 6);
    }
    Context alone;
    const Batch batch = Batch::OfLengths(std::vector<int32_t>{25});
    alone.batch = &batch;
    const std::vector<float> want =
        Rope(alone, x.Slice(0, 10, 35), fixed).ToVector<float>();
    EXPECT_TRUE(Near(y.Slice(0, 10, 35),
                     std::vector<double>(want.begin(), want.end()), 1e-5));
    Batch piece;
    piece.Add(std::vector<int32_t>(7, 0), 0);
    const auto first = [&] {
      Context ctx;
      ctx.batch = &piece;
      return Rope(ctx, x.Slice(0, 10, 17), config);
    };
    EXPECT_FALSE(BitwiseEqual(first(), y.Slice(0, 10, 17)));
    piece.lengths = {25};
    EXPECT_TRUE(BitwiseEqual(first(), y.Slice(0, 10, 17)));
    const Batch selected = both.Select(std::vector<int32_t>{3, 12});
    Context some;
    some.batch = &selected;
    Tensor chosen = Tensor::Empty({2, 2, 8});
    chosen.Slice(0, 0, 1).CopyFrom(x.Slice(0, 3, 4));
    chosen.Slice(0, 1, 2).CopyFrom(x.Slice(0, 12, 13));
    EXPECT_TRUE(BitwiseEqual(Rope(some, chosen, config).Slice(0, 1, 2),
                             y.Slice(0, 12, 13)));
    ExpectGradients(ctx, {RandomTensor(random, {35, 1, 8})}, {},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return Rope(ctx, in[0], config);
                    });
  }
}

TEST(RopeFrequenciesTest, Llama3KeepsShortWavesAndSlowsLongOnes) {
  RopeConfig plain;
  plain.theta = 500000;
  RopeConfig scaled = plain;
  scaled.scaling = RopeConfig::Scaling::kLlama3;
  scaled.factor = 8;
  scaled.low_freq_factor = 1;
  scaled.high_freq_factor = 4;
  scaled.original_max_positions = 8192;
  const std::vector<float> a = RopeFrequencies(plain, 128);
  const std::vector<float> b = RopeFrequencies(scaled, 128);
  int kept = 0, slowed = 0, between = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double wavelength = 2 * std::acos(-1.0) / a[i];
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(b[i], a[i]);
      ++kept;
    } else if (wavelength > 8192.0) {
      EXPECT_FLOAT_EQ(b[i], a[i] / 8);
      ++slowed;
    } else {
      const double blend = (8192 / wavelength - 1) / 3;
      EXPECT_FLOAT_EQ(b[i],
                      static_cast<float>(a[i] * ((1 - blend) / 8 + blend)));
      ++between;
    }
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(slowed, 20);
  EXPECT_GT(between, 2);
}

TEST(RopeFrequenciesTest, YarnBlendsByPairAndScales) {
  RopeConfig config;
  config.scaling = RopeConfig::Scaling::kYarn;
  config.factor = 16;
  config.original_max_positions = 4096;
  // Pairs that turn 32 times and once over 4096 positions: 20.95 and 45.03.
  const std::vector<float> f = RopeFrequencies(config, 128);
  const std::vector<float> plain = RopeFrequencies(RopeConfig(), 128);
  for (int i = 0; i < 64; ++i) {
    const double ramp = std::min(1.0, std::max(0.0, (i - 20) / 26.0));
    EXPECT_NEAR(f[i] / plain[i], ramp / 16 + 1 - ramp, 1e-6) << i;
  }
  EXPECT_FLOAT_EQ(RopeScale(config),
                  static_cast<float>(0.1 * std::log(16.0) + 1));
  config.attention_factor = 0.5;
  EXPECT_EQ(RopeScale(config), 0.5f);
  EXPECT_EQ(RopeScale(RopeConfig()), 1.0f);
}

TEST(RopeFrequenciesTest, LinearDividesPositions) {
  RopeConfig config;
  config.scaling = RopeConfig::Scaling::kLinear;
  config.factor = 4;
  const std::vector<float> f = RopeFrequencies(config, 64);
  const std::vector<float> plain = RopeFrequencies(RopeConfig(), 64);
  for (size_t i = 0; i < f.size(); ++i) EXPECT_EQ(f[i], plain[i] / 4);
}

TEST(ParseRopeTest, ReadsAllFieldsAndExplainsErrors) {
  const auto parse = [](const char* text) {
    return ParseRope(nlohmann::json::parse(text), 32, "attention");
  };
  EXPECT_FALSE(parse("false")->enabled);
  const RopeConfig config = *parse(
      R"({"theta": 5e5, "dim": 32, "interleaved": true, "scaling":
         {"type": "llama3", "factor": 8, "low_freq_factor": 1,
          "high_freq_factor": 4, "original_max_positions": 8192}})");
  EXPECT_EQ(config.theta, 5e5);
  EXPECT_EQ(config.dim, 32);
  EXPECT_TRUE(config.interleaved);
  EXPECT_EQ(config.scaling, RopeConfig::Scaling::kLlama3);
  EXPECT_EQ(config.original_max_positions, 8192);
  const auto message = [&](const char* text) {
    const Result<RopeConfig> config = parse(text);
    return config.ok() ? "" : config.status().message();
  };
  EXPECT_EQ(message(R"({"dim": 3})"),
            "[attention] \"rope.dim\" must be even, got 3");
  EXPECT_EQ(message(R"({"dim": -2})"),
            "[attention] \"rope.dim\" must be a whole number in [0, "
            "1073741824], got -2");
  EXPECT_EQ(message(R"({"thetta": 3})"),
            "[attention] unknown field \"rope.thetta\"; there are dim, "
            "factors, interleaved, scaling, theta");
  EXPECT_EQ(message(R"({"scaling": {"type": "ntk"}})"),
            "[attention] \"rope.scaling.type\" must be \"none\", \"linear\", "
            "\"dynamic\", \"llama3\", \"yarn\", \"longrope\" or "
            "\"proportional\", got \"ntk\"");
  EXPECT_EQ(message(R"({"scaling": {"type": "yarn", "factor": 4}})"),
            "[attention] \"rope.scaling.original_max_positions\" must be "
            "positive, and is absent");
  EXPECT_EQ(message(R"({"dim": 34})"),
            "[attention] \"rope.dim\" must be at most a head's 32 channels, "
            "got 34");
  EXPECT_EQ(message(R"({"dim": 4, "factors": [1, 2, 3]})"),
            "[attention] \"rope.factors\" must be a list of 2 positive "
            "numbers, one a pair of channels, got [1,2,3]");
  EXPECT_NE(message(R"({"dim": 4, "factors": [1, 0]})"), "");
  EXPECT_NE(message(R"({"dim": 4, "factors": [1, 1e300]})"), "");
  EXPECT_NE(message(R"({"dim": 4, "factors": [1, null]})"), "");
  EXPECT_NE(message(R"({"dim": 4, "scaling": {"type": "longrope",
                "original_max_positions": 8, "short_factor": [1, 2]}})"),
            "");
  EXPECT_NE(message(R"({"dim": 4, "factors": [1, 2], "scaling":
                {"type": "longrope", "original_max_positions": 8,
                 "short_factor": [1, 2], "long_factor": [1, 2]}})"),
            "");
  EXPECT_NE(message(R"({"dim": 2, "scaling": {"type": "dynamic",
                "factor": 2, "original_max_positions": 8}})"),
            "");
  EXPECT_NE(message(R"({"scaling": {"type": "linear", "factor": 0}})"), "");
  EXPECT_NE(message(R"({"theta": -1})"), "");
  EXPECT_NE(message(R"({"theta": true})"), "");
}

}  // namespace
}  // namespace intarsia
