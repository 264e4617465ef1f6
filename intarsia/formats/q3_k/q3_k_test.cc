#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q3KTest, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes(110, 0);
  for (int i = 0; i < 32; ++i) bytes[i] = 0xF0;       // third bits: last half
  for (int i = 0; i < 64; ++i) bytes[32 + i] = 0xE4;  // 0, 1, 2, 3 upwards
  // Scale 1 + 32: the low half 1, the high pair 2.
  for (int i = 0; i < 8; ++i) bytes[96 + i] = 0x11;
  for (int i = 0; i < 4; ++i) bytes[104 + i] = 0xAA;
  bytes[96] = 0x21;       // scale 8: 2
  bytes[104 + 3] = 0x6A;  // scale 15: pair 1, so 1 + 16 - 32
  bytes[109] = 0x38;      // d 0.5
  const std::vector<float> out = Dequantized(q3_k(), bytes, 256);
  for (int i = 0; i < 256; ++i) {
    const int group = i / 16;
    const float scale = group == 8 ? 2 : group == 15 ? -15 : 1;
    ASSERT_EQ(out[i], 0.5f * scale * (i / 32 % 4 - (i < 128 ? 4 : 0))) << i;
  }
}

}  // namespace
}  // namespace intarsia::formats
