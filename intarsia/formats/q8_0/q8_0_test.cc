#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

using testing::Each;

TEST(Q80Test, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes = {0x00, 0xB8};  // scale -0.5
  for (int i = 0; i < 32; ++i) {
    bytes.push_back(static_cast<uint8_t>(i * 8 - 128));  // -128, -120, ..., 120
  }
  const std::vector<float> out = Dequantized(q8_0(), bytes, 32);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], 64.0f - 4 * i);
}

TEST(Q80Test, QuantisesAKnownBlock) {
  std::vector<float> values(32, 0.0f);
  values[0] = -127, values[1] = 0.5f, values[2] = -0.5f, values[3] = 1.5f;
  values[4] = 2.25f, values[30] = 126.5f, values[31] = -3;
  const std::vector<uint8_t> bytes = Quantized(q8_0(), values);
  EXPECT_EQ(bytes[0], 0x00);  // 127 / 127 = 1
  EXPECT_EQ(bytes[1], 0x3C);
  const int8_t expected[] = {-127, 1, -1, 2, 2};  // halves away from zero
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(static_cast<int8_t>(bytes[2 + i]), expected[i]);
  }
  EXPECT_EQ(static_cast<int8_t>(bytes[2 + 30]), 127);
  EXPECT_EQ(static_cast<int8_t>(bytes[2 + 31]), -3);
}

TEST(Q80Test, ErrsByHalfAStep) {
  const std::vector<float> values = TestValues(3200, 1);
  const std::vector<float> out = RoundTrip(q8_0(), values);
  for (size_t b = 0; b < values.size(); b += 32) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) {
      largest = std::max(largest, std::abs(values[b + i]));
    }
    // Half a code, and the rounding of the scale to fp16.
    const float bound = largest * (0.5f / 127 + 0x1p-11f) * 1.001f;
    for (int i = 0; i < 32; ++i) {
      ASSERT_NEAR(out[b + i], values[b + i], bound);
    }
  }
}

TEST(Q80Test, OddInput) {
  EXPECT_THAT(RoundTrip(q8_0(), std::vector<float>(32, 0.0f)), Each(0.0f));
  EXPECT_THAT(RoundTrip(q8_0(), std::vector<float>(32, 1e-42f)), Each(0.0f));
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(64, 1.0f);
    values[17] = bad;
    const std::vector<float> out = RoundTrip(q8_0(), values);
    for (int i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(out[i]));
    for (int i = 32; i < 64; ++i) EXPECT_NEAR(out[i], 1.0f, 1e-3f);
  }
}

}  // namespace
}  // namespace intarsia::formats
