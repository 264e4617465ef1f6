#include <gtest/gtest.h>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(Iq4NlTest, DequantisesAKnownBlock) {
  constexpr float kNumbers[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  std::vector<uint8_t> bytes = {0x00, 0x38};  // 0.5
  for (int j = 0; j < 16; ++j) bytes.push_back(j | (15 - j) << 4);
  const std::vector<float> out = Dequantized(iq4_nl(), bytes, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.5f * kNumbers[j]);
    EXPECT_EQ(out[j + 16], 0.5f * kNumbers[15 - j]);
  }
  EXPECT_EQ(RoundTrip(iq4_nl(), out), out);
}

}  // namespace
}  // namespace intarsia::formats
