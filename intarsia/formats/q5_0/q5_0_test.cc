#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q50Test, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes = {0x00, 0x38};  // 0.5
  // Numbers 0 to 3 and 31 have their fifth bit.
  bytes.insert(bytes.end(), {0x0F, 0x00, 0x00, 0x80});
  for (int j = 0; j < 16; ++j) bytes.push_back(j | (15 - j) << 4);
  const std::vector<float> out = Dequantized(q5_0(), bytes, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.5f * (j + (j < 4 ? 16 : 0) - 16));
    EXPECT_EQ(out[j + 16], 0.5f * (15 - j + (j == 15 ? 16 : 0) - 16));
  }
}

TEST(Q50Test, QuantisesAKnownBlock) {
  std::vector<float> values(32, 0.0f);
  values[0] = -16, values[1] = 15, values[2] = 0.5f, values[31] = 7;
  const std::vector<uint8_t> bytes = Quantized(q5_0(), values);
  EXPECT_EQ(bytes[0] | bytes[1] << 8, 0x3C00);  // 1
  EXPECT_EQ(bytes[2] | bytes[3] << 8, 0xFFFE);  // all but the first
  EXPECT_EQ(bytes[6] & 15, 0);
  EXPECT_EQ(bytes[7] & 15, 15);
  EXPECT_EQ(bytes[8] & 15, 1);  // halves up
  EXPECT_EQ(bytes[21] >> 4, 7);
}

}  // namespace
}  // namespace intarsia::formats
