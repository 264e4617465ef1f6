#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q51Test, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes = {0x00, 0x38, 0x00, 0xC2};  // 0.5, minimum -3
  bytes.insert(bytes.end(), {0x0F, 0x00, 0x00, 0x80});
  for (int j = 0; j < 16; ++j) bytes.push_back(j | (15 - j) << 4);
  const std::vector<float> out = Dequantized(q5_1(), bytes, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.5f * (j + (j < 4 ? 16 : 0)) - 3);
    EXPECT_EQ(out[j + 16], 0.5f * (15 - j + (j == 15 ? 16 : 0)) - 3);
  }
}

TEST(Q51Test, QuantisesAKnownBlock) {
  std::vector<float> values(32, -1.0f);
  values[0] = 30, values[1] = 0.5f, values[17] = 15;
  const std::vector<uint8_t> bytes = Quantized(q5_1(), values);
  EXPECT_EQ(bytes[0] | bytes[1] << 8, 0x3C00);  // 1
  EXPECT_EQ(bytes[2] | bytes[3] << 8, 0xBC00);  // -1
  EXPECT_EQ(bytes[4] | bytes[5] << 8, 1);       // 31 has its fifth bit
  EXPECT_EQ(bytes[6] | bytes[7] << 8, 2);       // and 16
  EXPECT_EQ(bytes[8], 15);
  EXPECT_EQ(bytes[9], 2);  // 1.5 up, and 16 - 16
}

}  // namespace
}  // namespace intarsia::formats
