#include <gtest/gtest.h>

#include <algorithm>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q4KTest, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes(144, 0);
  bytes[1] = 0x38, bytes[3] = 0x3C;  // d 0.5, dmin 1
  // Scales 1 2 3 4 | 21 38 55 8, minima 5 6 7 8 | 25 42 59 12.
  const uint8_t packed[12] = {1 | 1 << 6,  2 | 2 << 6,  3 | 3 << 6,
                              4,           5 | 1 << 6,  6 | 2 << 6,
                              7 | 3 << 6,  8,           5 | 9 << 4,
                              6 | 10 << 4, 7 | 11 << 4, 8 | 12 << 4};
  std::copy_n(packed, 12, bytes.begin() + 4);
  for (int i = 0; i < 128; ++i) bytes[16 + i] = i % 16 | (15 - i % 16) << 4;
  constexpr float kScales[8] = {1, 2, 3, 4, 21, 38, 55, 8};
  constexpr float kMinima[8] = {5, 6, 7, 8, 25, 42, 59, 12};
  const std::vector<float> out = Dequantized(q4_k(), bytes, 256);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 32, code = part % 2 ? 15 - i % 16 : i % 16;
    ASSERT_EQ(out[i], 0.5f * kScales[part] * code - kMinima[part]) << i;
  }
}

}  // namespace
}  // namespace intarsia::formats
