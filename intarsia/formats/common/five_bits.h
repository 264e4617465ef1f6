// Codes 0..31 of a block of 32 as q5_0 and q5_1 store them: fifth bits in four
// bytes, bit j that of number j; nibbles of numbers j and j + 16 in byte j.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace intarsia::formats {

inline void PackFiveBits(const int8_t* codes, std::byte* fifth,
                         std::byte* nibbles) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) {
    const int lo = codes[i], hi = codes[i + 16];
    nibbles[i] = static_cast<std::byte>((lo & 15) | (hi & 15) << 4);
    bits |= static_cast<uint32_t>(lo >> 4) << i;
    bits |= static_cast<uint32_t>(hi >> 4) << (i + 16);
  }
  std::memcpy(fifth, &bits, sizeof(bits));
}

}  // namespace intarsia::formats
