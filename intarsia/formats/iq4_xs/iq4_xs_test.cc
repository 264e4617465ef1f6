#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Iq4XsTest, DequantisesAKnownBlock) {
  constexpr float kNumbers[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  std::vector<uint8_t> bytes(136, 0);
  bytes[1] = 0x38;                                  // d 0.5
  bytes[2] = 0xE4, bytes[3] = 0xE4;                 // high pairs 0, 1, 2, 3
  for (int i = 0; i < 4; ++i) bytes[4 + i] = 0x21;  // low halves 1, 2
  for (int i = 0; i < 128; ++i) bytes[8 + i] = i % 16 | (15 - i % 16) << 4;
  const std::vector<float> out = Dequantized(iq4_xs(), bytes, 256);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 32, scale = 1 + part % 2 + part % 4 * 16 - 32;
    const int code = i % 32 < 16 ? i % 16 : 15 - i % 16;
    ASSERT_EQ(out[i], 0.5f * scale * kNumbers[code]) << i;
  }
}

}  // namespace
}  // namespace intarsia::formats
