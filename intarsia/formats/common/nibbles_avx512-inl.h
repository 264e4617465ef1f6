// Stored blocks of nibbles for vnni-inl.h: fp16 scale (and minimum, when
// kHead is 4), then 16 bytes of codes.
#pragma once

#include "intarsia/formats/common/vnni-inl.h"

INTARSIA_BEGIN_AVX512
namespace intarsia::formats {

// Four blocks are 72 or 80 bytes, two registers that overlap: index 64 + i
// picks byte i of the second, which starts kBytes * 4 - 64 bytes later.
template <int kHead>
struct NibbleIndices {
  static constexpr int kBytes = kHead + 16;
  constexpr NibbleIndices() : codes(), halves() {
    for (int i = 0; i < 64; ++i) {
      const int at = i / 16 * kBytes + kHead + i % 16;
      codes[i] =
          static_cast<uint8_t>(at < 64 ? at : 64 + at - (kBytes * 4 - 64));
    }
    for (int i = 0; i < 32; ++i) {
      const int word = i % 16 / 4 * kBytes / 2 + (kHead == 4 ? i / 16 : 0);
      halves[i] = static_cast<uint16_t>(word);
    }
  }
  alignas(64) uint8_t codes[64];
  alignas(64) uint16_t halves[32];
};

template <int kHead>
struct NibbleBlock {
  static constexpr int kBytes = kHead + 16;
  static constexpr int kShift = 3;
  static constexpr bool kMinimum = kHead == 4;
  static constexpr NibbleIndices<kHead> kIndices{};

  template <int row>
  static INTARSIA_INLINE void Load(const uint8_t* p, int blocks, __m512i* low,
                                   __m512i* high, __m512i* halves) {
    constexpr int kSecond = kBytes * 4 - 64;
    __m512i a, b;
    if (blocks == 4) {
      a = _mm512_loadu_si512(p);
      b = _mm512_loadu_si512(p + kSecond);
    } else {  // nothing past the row is read
      const int bytes = blocks * kBytes;
      a = _mm512_maskz_loadu_epi8(FirstBytes(bytes), p);
      b = _mm512_maskz_loadu_epi8(FirstBytes(bytes - kSecond), p + kSecond);
    }
    const __m512i codes =
        _mm512_permutex2var_epi8(a, _mm512_load_si512(kIndices.codes), b);
    const __m512i nibble = _mm512_set1_epi8(15);
    *low = _mm512_and_si512(codes, nibble);
    *high = _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble);
    *halves = _mm512_mask_permutexvar_epi16(
        *halves, 0x11111111u << row, _mm512_load_si512(kIndices.halves), a);
  }

 private:
  static INTARSIA_INLINE __mmask64 FirstBytes(int n) {
    return n >= 64 ? ~__mmask64{0} : n <= 0 ? 0 : (__mmask64{1} << n) - 1;
  }
};

}  // namespace intarsia::formats
INTARSIA_END_AVX512
