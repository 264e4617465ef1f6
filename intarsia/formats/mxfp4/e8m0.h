// E8M0, the scale of OCP's MX formats: a power of two, 255 is NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace intarsia::formats {

// 2^(code - 127) / 2: the table of mxfp4 holds E2M1 times two.
inline float HalfOfE8M0(uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7FC00000u);
  // Below the exponents of fp32: subnormals.
  return std::bit_cast<float>(code < 2 ? 0x00200000u << code
                                       : (code - 1u) << 23);
}

}  // namespace intarsia::formats
