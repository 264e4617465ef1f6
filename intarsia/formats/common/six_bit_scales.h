// The eight scales and eight minima of 6 bits that q4_k and q5_k keep in 12
// bytes: the low 4 bits of those from the fourth on in the last four bytes,
// their high bits above the first eight codes.
#pragma once

#include <cstdint>
#include <cstring>

namespace intarsia::formats {

// out: scales 0..7, then minima 0..7.
inline void UnpackSixBitScales(const uint8_t* packed, uint8_t* out) {
  uint32_t a, b, c;
  std::memcpy(&a, packed, 4);
  std::memcpy(&b, packed + 4, 4);
  std::memcpy(&c, packed + 8, 4);
  const uint32_t words[4] = {
      a & 0x3F3F3F3Fu, (c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u),
      b & 0x3F3F3F3Fu, (c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u)};
  std::memcpy(out, words, 16);
}

inline void PackSixBitScales(const uint8_t* scales, const uint8_t* minima,
                             uint8_t* packed) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(scales[i] | (scales[i + 4] & 0x30) << 2);
    packed[i + 4] =
        static_cast<uint8_t>(minima[i] | (minima[i + 4] & 0x30) << 2);
    packed[i + 8] =
        static_cast<uint8_t>((scales[i + 4] & 15) | (minima[i + 4] & 15) << 4);
  }
}

}  // namespace intarsia::formats
