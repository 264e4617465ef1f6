#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

// All 256 codes, by the definition: 4 bits of exponent with bias 7, 3 of
// mantissa, 0x7F NaN.
TEST(F8E4M3Test, EveryCode) {
  for (int half = 0; half < 2; ++half) {
    std::vector<uint8_t> bytes = {0x00, 0x00, 0x00, 0x3F};  // 0.5
    for (int i = 0; i < 128; ++i) bytes.push_back(i | half << 7);
    const std::vector<float> out = Dequantized(f8_e4m3_128(), bytes, 128);
    for (int i = 0; i < 127; ++i) {
      const int exponent = i >> 3, mantissa = i & 7;
      const double size =
          exponent == 0 ? mantissa / 8.0 * std::pow(2.0, -6)
                        : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
      ASSERT_EQ(out[i], 0.5 * (half ? -size : size)) << i;
      EXPECT_EQ(std::signbit(out[i]), half == 1);
    }
    EXPECT_TRUE(std::isnan(out[127]));
  }
}

TEST(F8E4M3Test, KnownNumbers) {
  std::vector<uint8_t> bytes = {0x00, 0x00, 0x80, 0x3F};  // 1
  bytes.resize(132, 0);
  bytes[4] = 0x01, bytes[5] = 0x08, bytes[6] = 0x38, bytes[7] = 0x7E;
  bytes[8] = 0xC4, bytes[9] = 0x80;
  const std::vector<float> out = Dequantized(f8_e4m3_128(), bytes, 128);
  EXPECT_EQ(out[0], 0x1p-9f);
  EXPECT_EQ(out[1], 0x1p-6f);
  EXPECT_EQ(out[2], 1.0f);
  EXPECT_EQ(out[3], 448.0f);
  EXPECT_EQ(out[4], -3.0f);
  EXPECT_EQ(out[5], 0.0f);
}

TEST(F8E4M3Test, KeepsWhatItCanHoldAndRoundsTiesToEven) {
  std::vector<float> values(128, 0.0f);
  values[0] = 448;  // the scale is 1
  for (int i = 1; i < 127; ++i) {
    values[i] = (i % 2 ? -1 : 1) * std::ldexp(8.0f + i % 8, i % 14 - 9);
  }
  const std::vector<float> same = RoundTrip(f8_e4m3_128(), values);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(same[i], values[i]) << i;
  values.assign(128, 448.0f);
  values[1] = 17, values[2] = 19, values[3] = -0.00293f, values[4] = 0x1p-10f;
  values[5] = 0x1.7p-9f;
  const std::vector<float> back = RoundTrip(f8_e4m3_128(), values);
  EXPECT_EQ(back[1], 16);        // between 16 and 18
  EXPECT_EQ(back[2], 20);        // between 18 and 20
  EXPECT_EQ(back[3], -0x1p-8f);  // 1.5 units and a little
  EXPECT_EQ(back[4], 0);         // half of the smallest
  EXPECT_EQ(back[5], 0x1p-9f);
}

}  // namespace
}  // namespace intarsia::formats
