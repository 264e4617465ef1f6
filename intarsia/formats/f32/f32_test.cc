#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

TEST(F32Test, KeepsEveryBit) {
  std::vector<float> values = TestValues(77, 1);
  values[3] = -0.0f;
  values[4] = std::numeric_limits<float>::infinity();
  values[5] = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(RoundTrip(f32(), values), values);
  EXPECT_TRUE(std::signbit(RoundTrip(f32(), values)[3]));
  EXPECT_EQ(Quantized(f32(), {1.0f}), (std::vector<uint8_t>{0, 0, 0x80, 0x3F}));
}

}  // namespace
}  // namespace intarsia::formats
