#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

// All 65536 patterns, at an offset so that each meets another vector lane and
// the tail of a row too.
TEST(BF16Test, EveryPatternDequantises) {
  for (const int64_t shift : {0, 5}) {
    const int64_t k = 65536 - shift;
    std::vector<uint8_t> bytes(k * 2);
    for (int64_t i = 0; i < k; ++i) {
      bytes[2 * i] = static_cast<uint8_t>((i + shift) & 255);
      bytes[2 * i + 1] = static_cast<uint8_t>((i + shift) >> 8);
    }
    const std::vector<float> out = Dequantized(bf16(), bytes, k);
    for (int64_t i = 0; i < k; ++i) {
      const float expected =
          ToFloat(intarsia::bf16{static_cast<uint16_t>(i + shift)});
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(out[i])) << i;
      } else {
        ASSERT_EQ(out[i], expected) << i;
        ASSERT_EQ(std::signbit(out[i]), std::signbit(expected)) << i;
      }
    }
  }
}

TEST(BF16Test, RoundsToTheNearest) {
  EXPECT_EQ(Quantized(bf16(), {1.0f}), (std::vector<uint8_t>{0x80, 0x3F}));
  const std::vector<float> values = TestValues(1000, 1);
  const std::vector<float> out = RoundTrip(bf16(), values);
  for (size_t i = 0; i < values.size(); ++i) {
    // Half a unit in the last place, and half the least subnormal.
    ASSERT_NEAR(out[i], values[i], std::abs(values[i]) * 0x1p-8f + 0x1p-25f);
  }
}

}  // namespace
}  // namespace intarsia::formats
