#pragma once

#include "intarsia/formats/common/avx512.h"

INTARSIA_BEGIN_AVX512
namespace intarsia::formats {

// 16 × 16 dwords: lane i of v[j] and lane j of v[i] change places.
INTARSIA_INLINE void Transpose(__m512i (&v)[16]) {
  __m512i t[16];
  INTARSIA_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  // v[4 i + c]: column c of each quarter, rows 4 i..4 i + 3.
  INTARSIA_UNROLL
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Then 4 × 4 quarters for each column.
  INTARSIA_UNROLL
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xDD);
    const __m512i d = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xDD);
    t[c] = _mm512_shuffle_i32x4(a, d, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(a, d, 0xDD);
    t[4 + c] = _mm512_shuffle_i32x4(b, e, 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(b, e, 0xDD);
  }
  INTARSIA_UNROLL
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

}  // namespace intarsia::formats
INTARSIA_END_AVX512
