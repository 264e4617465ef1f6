// E4M3 of OCP's 8-bit floating point: 4 bits of exponent with bias 7, 3 of
// mantissa, no infinities, 0x7F and 0xFF are NaN; the largest number is 448.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace intarsia::formats {

inline float FromE4M3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float sign = (code & 0x80) != 0 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) {
    return std::bit_cast<float>(0x7FC00000u);
  }
  if (exponent == 0) return sign * std::ldexp(float(mantissa), -9);
  return sign * std::ldexp(float(8 + mantissa), exponent - 10);
}

// The nearest, ties to even; what is larger than 448 becomes 448.
inline uint8_t ToE4M3(float x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return sign | 0x7F;
  const float size = std::min(std::abs(x), 448.0f);
  int exponent = 0;
  std::frexp(size, &exponent);  // size < 2^exponent; 0 of 0
  exponent = size > 0 ? std::max(exponent - 1, -6) : -6;
  // In units of the last place; 16 of them are the next exponent's 8.
  const int units =
      static_cast<int>(std::nearbyint(std::ldexp(size, 3 - exponent)));
  return static_cast<uint8_t>(sign | ((exponent + 6) * 8 + units));
}

}  // namespace intarsia::formats
