#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Q6KTest, DequantisesAKnownBlock) {
  std::vector<uint8_t> bytes(210, 0);
  for (int i = 0; i < 128; ++i) bytes[i] = i % 16 | (15 - i % 16) << 4;
  for (int i = 0; i < 64; ++i) bytes[128 + i] = 0xE4;  // pairs 0, 1, 2, 3
  for (int g = 0; g < 16; ++g) bytes[192 + g] = static_cast<uint8_t>(g - 8);
  bytes[209] = 0x38;  // d 0.5
  const std::vector<float> out = Dequantized(q6_k(), bytes, 256);
  for (int i = 0; i < 256; ++i) {
    const int quarter = i / 32 % 4;
    const int low = quarter < 2 ? i % 16 : 15 - i % 16;
    ASSERT_EQ(out[i], 0.5f * (i / 16 - 8) * (low + 16 * quarter - 32)) << i;
  }
}

}  // namespace
}  // namespace intarsia::formats
