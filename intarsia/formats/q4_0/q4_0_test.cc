#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

using testing::Each;

TEST(Q40Test, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes = {0x00, 0x40};  // scale 2
  for (int j = 0; j < 16; ++j) {
    bytes.push_back(static_cast<uint8_t>(j | (15 - j) << 4));
  }
  const std::vector<float> out = Dequantized(q4_0(), bytes, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 2.0f * (j - 8));
    EXPECT_EQ(out[j + 16], 2.0f * (7 - j));
  }
  // -0 where the reference has it: a code of 8 under a negative scale.
  bytes[1] = 0xC0;
  EXPECT_TRUE(std::signbit(Dequantized(q4_0(), bytes, 32)[8]));
}

TEST(Q40Test, QuantisesAKnownBlock) {
  std::vector<float> values(32, 0.0f);
  values[0] = -8, values[1] = 7, values[2] = 7.75f, values[3] = 0.5f;
  values[4] = -0.5f, values[5] = 0.25f, values[16] = -7, values[17] = 3;
  const std::vector<uint8_t> bytes = Quantized(q4_0(), values);
  EXPECT_EQ(bytes[0], 0x00);  // -8 / -8 = 1
  EXPECT_EQ(bytes[1], 0x3C);
  EXPECT_EQ(bytes[2], 0 | 1 << 4);
  EXPECT_EQ(bytes[3], 15 | 11 << 4);
  EXPECT_EQ(bytes[4], 15 | 8 << 4);  // clipped
  EXPECT_EQ(bytes[5], 9 | 8 << 4);   // 0.5 + 8.5
  EXPECT_EQ(bytes[6], 8 | 8 << 4);
  EXPECT_EQ(bytes[7], 8 | 8 << 4);
}

TEST(Q40Test, ErrsByAStep) {
  const std::vector<float> values = TestValues(3200, 1);
  const std::vector<float> out = RoundTrip(q4_0(), values);
  for (size_t b = 0; b < values.size(); b += 32) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) {
      if (std::abs(values[b + i]) > std::abs(largest)) largest = values[b + i];
    }
    const float step = std::abs(largest) / 8;
    for (int i = 0; i < 32; ++i) {
      // On the side of the largest half a step; the other side ends at 7.
      const bool clipped =
          values[b + i] * largest < 0 && std::abs(values[b + i]) > 7.5f * step;
      ASSERT_NEAR(out[b + i], values[b + i],
                  step * (clipped ? 1.0f : 0.5f) * 1.001f +
                      std::abs(largest) * 0x1p-11f);
    }
  }
}

TEST(Q40Test, OddInput) {
  EXPECT_THAT(RoundTrip(q4_0(), std::vector<float>(32, 0.0f)), Each(0.0f));
  EXPECT_THAT(RoundTrip(q4_0(), std::vector<float>(32, 1e-42f)), Each(0.0f));
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(64, 1.0f);
    values[17] = bad;
    const std::vector<float> out = RoundTrip(q4_0(), values);
    for (int i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(out[i]));
    for (int i = 32; i < 64; ++i) EXPECT_EQ(out[i], 1.0f);
  }
}

}  // namespace
}  // namespace intarsia::formats
