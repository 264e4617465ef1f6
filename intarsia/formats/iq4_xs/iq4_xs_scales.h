// The eight scales of 6 bits that iq4_xs keeps in 6 bytes: pairs of high bits
// in the first two, low halves in the other four.
#pragma once

#include <cstdint>

namespace intarsia::formats {

inline void UnpackIq4XsScales(const uint8_t* packed, int8_t* out) {
  for (int i = 0; i < 8; ++i) {
    const int low = packed[2 + i / 2] >> (i % 2 * 4) & 15;
    const int high = packed[i / 4] >> (i % 4 * 2) & 3;
    out[i] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

inline void PackIq4XsScales(const int8_t* scales, uint8_t* packed) {
  for (int i = 0; i < 6; ++i) packed[i] = 0;
  for (int i = 0; i < 8; ++i) {
    const int code = scales[i] + 32;
    packed[2 + i / 2] |= static_cast<uint8_t>((code & 15) << (i % 2 * 4));
    packed[i / 4] |= static_cast<uint8_t>((code >> 4) << (i % 4 * 2));
  }
}

}  // namespace intarsia::formats
