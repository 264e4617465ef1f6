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
    return ParseRope(nlohmann::json::parse(text), "attention");
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
            "interleaved, scaling, theta");
  EXPECT_EQ(message(R"({"scaling": {"type": "ntk"}})"),
            "[attention] \"rope.scaling.type\" must be \"none\", \"linear\", "
            "\"llama3\" or \"yarn\", got \"ntk\"");
  EXPECT_EQ(message(R"({"scaling": {"type": "yarn", "factor": 4}})"),
            "[attention] \"rope.scaling.original_max_positions\" must be "
            "positive, and is absent");
  EXPECT_NE(message(R"({"theta": -1})"), "");
  EXPECT_NE(message(R"({"theta": true})"), "");
}

}  // namespace
}  // namespace intarsia
