#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Mxfp4Test, DequantisesAKnownBlock) {
  constexpr float kNumbers[16] = {0, 0.5f,  1,  1.5f,  2,  3,  4,  6,
                                  0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  std::vector<uint8_t> bytes = {128};  // 2
  for (int j = 0; j < 16; ++j) bytes.push_back(j | (15 - j) << 4);
  const std::vector<float> out = Dequantized(mxfp4(), bytes, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 2 * kNumbers[j]);
    EXPECT_EQ(out[j + 16], 2 * kNumbers[15 - j]);
  }
  EXPECT_EQ(RoundTrip(mxfp4(), out), out);
}

TEST(Mxfp4Test, ScalesAtTheEnds) {
  std::vector<uint8_t> bytes(17, 0x11);
  bytes[0] = 0;
  EXPECT_EQ(Dequantized(mxfp4(), bytes, 32)[0], 0x1p-128f);
  bytes[0] = 1;
  EXPECT_EQ(Dequantized(mxfp4(), bytes, 32)[0], 0x1p-127f);
  bytes[0] = 2;
  EXPECT_EQ(Dequantized(mxfp4(), bytes, 32)[0], 0x1p-126f);
  bytes[0] = 254;
  EXPECT_EQ(Dequantized(mxfp4(), bytes, 32)[31], 0x1p126f);
  bytes[0] = 255;
  EXPECT_TRUE(std::isnan(Dequantized(mxfp4(), bytes, 32)[31]));
}

}  // namespace
}  // namespace intarsia::formats
