// Part of the tests that run once with each set of kernels: from the start, the
// kernels that INTARSIA_TEST_SIMD names.
#include "intarsia/formats/common/paths.h"

namespace intarsia::formats {
namespace {

[[maybe_unused]] const bool kChosen = [] {
  SetSimdTargetForTest("");
  return true;
}();

}  // namespace
}  // namespace intarsia::formats
