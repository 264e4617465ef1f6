// What the quantised rooms share: GGUF's blocks of 32 numbers with fp16 scales.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "intarsia/core/dtype.h"

namespace intarsia::formats {

inline constexpr int64_t kBlock = 32;

inline void StoreF16(float x, std::byte* p) {
  const f16 h = ToF16(x);
  std::memcpy(p, &h, sizeof(h));
}

// 1/d, and 0 for a block of zeros.
inline float Inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// A code in [lo, hi] by truncation. `x` may be anything: when d is so small
// that 1/d overflows, even NaN.
inline int Truncate(float x, int lo, int hi) {
  if (!(x > static_cast<float>(lo))) return lo;
  return x < static_cast<float>(hi) ? static_cast<int>(x) : hi;
}

}  // namespace intarsia::formats
