#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

using testing::Each;

TEST(Q41Test, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes = {0x00, 0x38, 0x00, 0xC2};  // 0.5, minimum -3
  for (int j = 0; j < 16; ++j) {
    bytes.push_back(static_cast<uint8_t>(j | (15 - j) << 4));
  }
  const std::vector<float> out = Dequantized(q4_1(), bytes, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.5f * j - 3);
    EXPECT_EQ(out[j + 16], 0.5f * (15 - j) - 3);
  }
}

TEST(Q41Test, QuantisesAKnownBlock) {
  std::vector<float> values(32, -1.0f);
  values[0] = 14, values[1] = 0.5f, values[2] = 0.25f;
  values[16] = 13.5f, values[17] = 13.25f;
  const std::vector<uint8_t> bytes = Quantized(q4_1(), values);
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.begin() + 4),
            (std::vector<uint8_t>{0x00, 0x3C, 0x00, 0xBC}));  // 1, -1
  EXPECT_EQ(bytes[4], 15 | 15 << 4);                          // halves up
  EXPECT_EQ(bytes[5], 2 | 14 << 4);
  EXPECT_EQ(bytes[6], 1 | 0 << 4);
}

TEST(Q41Test, ErrsByHalfAStep) {
  const std::vector<float> values = TestValues(3200, 1);
  const std::vector<float> out = RoundTrip(q4_1(), values);
  for (size_t b = 0; b < values.size(); b += 32) {
    const auto [low, high] =
        std::minmax_element(values.begin() + b, values.begin() + b + 32);
    const float range = *high - *low;
    // Half a code, and fp16's rounding of the minimum and of 15 steps.
    const float bound =
        range / 30 * 1.001f + (std::abs(*low) + range) * 0x1p-11f;
    for (int i = 0; i < 32; ++i) {
      ASSERT_NEAR(out[b + i], values[b + i], bound);
    }
  }
}

TEST(Q41Test, OddInput) {
  EXPECT_THAT(RoundTrip(q4_1(), std::vector<float>(32, 0.0f)), Each(0.0f));
  EXPECT_THAT(RoundTrip(q4_1(), std::vector<float>(32, 2.5f)), Each(2.5f));
  std::vector<float> tiny(32, 0.0f);
  tiny[9] = 1e-42f;
  EXPECT_THAT(RoundTrip(q4_1(), tiny), Each(0.0f));
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(64, 1.0f);
    values[17] = bad;
    const std::vector<float> out = RoundTrip(q4_1(), values);
    for (int i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(out[i]));
    for (int i = 32; i < 64; ++i) EXPECT_EQ(out[i], 1.0f);
  }
}

}  // namespace
}  // namespace intarsia::formats
