#include "intarsia/formats/common/block_format.h"

#include <algorithm>
#include <cmath>

namespace intarsia::formats {

void BlockFormat::QuantizeRowFor(const float* in, const float* importance,
                                 std::byte* out, int64_t k) const {
  for (int64_t i = 0; i < k; i += traits_.numbers, out += traits_.bytes) {
    if (!std::all_of(in + i, in + i + traits_.numbers,
                     [](float x) { return std::isfinite(x); })) {
      traits_.poison(out);  // a fault stays visible
      continue;
    }
    traits_.quantize(in + i, importance == nullptr ? nullptr : importance + i,
                     out);
  }
}

}  // namespace intarsia::formats
