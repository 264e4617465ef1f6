// The sixteen scales of 6 bits that q3_k keeps in 12 bytes: low halves in the
// first eight bytes (numbers 0 to 7, then 8 to 15 above them), pairs of high
// bits in the last four, four scales a byte.
#pragma once

#include <cstdint>

namespace intarsia::formats {

inline void UnpackQ3KScales(const uint8_t* packed, int8_t* out) {
  for (int i = 0; i < 16; ++i) {
    const int low = packed[i % 8] >> (i / 8 * 4) & 15;
    const int high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
    out[i] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

inline void PackQ3KScales(const int8_t* scales, uint8_t* packed) {
  for (int i = 0; i < 12; ++i) packed[i] = 0;
  for (int i = 0; i < 16; ++i) {
    const int code = scales[i] + 32;
    packed[i % 8] |= static_cast<uint8_t>((code & 15) << (i / 8 * 4));
    packed[8 + i % 4] |= static_cast<uint8_t>((code >> 4) << (i / 4 * 2));
  }
}

}  // namespace intarsia::formats
