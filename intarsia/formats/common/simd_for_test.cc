// Part of the tests that run once with each set of kernels: from the start, the
// kernels that INTARSIA_TEST_SIMD names.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/paths.h"

namespace intarsia::formats {
namespace {

[[maybe_unused]] const bool kChosen = [] {
  SetSimdTargetForTest("");
  return true;
}();

// The name comes from the kernels' own file, by the same dispatch as they.
TEST(SimdForTest, TheKernelsThatWereNamedRun) {
  const char* const only = std::getenv("INTARSIA_TEST_SIMD");
  const std::string wanted = only != nullptr ? only : "AVX2";
  EXPECT_EQ(SimdTargetName(), wanted);
  // Those of intrinsics are chosen apart from Highway's.
  EXPECT_EQ(HasMadd(), wanted == "AVX2");
  EXPECT_FALSE(HasVnni());
}

}  // namespace
}  // namespace intarsia::formats
