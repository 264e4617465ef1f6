#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q5KTest, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes(176, 0);
  bytes[1] = 0x38, bytes[3] = 0x3C;              // d 0.5, dmin 1
  for (int i = 0; i < 8; ++i) bytes[4 + i] = 3;  // the first four: 3, 3
  for (int i = 8; i < 12; ++i) bytes[4 + i] = 2 | 5 << 4;  // the others: 2, 5
  for (int i = 0; i < 32; ++i) bytes[16 + i] = 0x82;       // parts 1 and 7
  for (int i = 0; i < 128; ++i) bytes[48 + i] = i % 16 | (15 - i % 16) << 4;
  const std::vector<float> out = Dequantized(q5_k(), bytes, 256);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 32, low = part % 2 ? 15 - i % 16 : i % 16;
    const int code = low + (part == 1 || part == 7 ? 16 : 0);
    const float scale = part < 4 ? 3 : 2, minimum = part < 4 ? 3 : 5;
    ASSERT_EQ(out[i], 0.5f * scale * code - minimum) << i;
  }
}

}  // namespace
}  // namespace intarsia::formats
