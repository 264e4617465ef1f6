#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q2KTest, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes(84, 0);
  for (int g = 0; g < 16; ++g) bytes[g] = g | (15 - g) << 4;
  for (int i = 0; i < 64; ++i) bytes[16 + i] = 0xE4;  // 0, 1, 2, 3 upwards
  bytes[81] = 0x3C, bytes[83] = 0x38;                 // d 1, dmin 0.5
  const std::vector<float> out = Dequantized(q2_k(), bytes, 256);
  for (int i = 0; i < 256; ++i) {
    const int group = i / 16, code = i / 32 % 4;
    ASSERT_EQ(out[i], group * code - 0.5f * (15 - group)) << i;
  }
}

}  // namespace
}  // namespace intarsia::formats
