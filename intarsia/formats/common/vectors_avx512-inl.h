// The vectors of panels-inl.h by AVX-512 with VNNI: 16 lanes of 32 bits.
#pragma once

#include <cstdint>

#include "intarsia/formats/common/avx512.h"

#define INTARSIA_ISA avx512
#define INTARSIA_BEGIN_ISA INTARSIA_BEGIN_AVX512
#define INTARSIA_END_ISA INTARSIA_END_AVX512

INTARSIA_BEGIN_ISA
namespace intarsia::formats::avx512 {

using Ints = __m512i;
using Floats = __m512;
inline constexpr int kLanes = 16;
// Rows of X whose sums are computed together, as registers allow.
inline constexpr int kTileRows = 8;
// From so many rows of X on, unpacking a panel once for all pays.
inline constexpr int64_t kUnpackRows = 32;

INTARSIA_INLINE Ints Load(const void* p) { return _mm512_load_si512(p); }
INTARSIA_INLINE void Store(void* p, Ints v) { _mm512_store_si512(p, v); }
INTARSIA_INLINE Floats LoadFloats(const float* p) { return _mm512_load_ps(p); }
INTARSIA_INLINE void StoreFloats(float* p, Floats v) { _mm512_store_ps(p, v); }
INTARSIA_INLINE Floats LoadAnywhere(const float* p) {
  return _mm512_loadu_ps(p);
}
INTARSIA_INLINE void StoreAnywhere(float* p, Floats v) {
  _mm512_storeu_ps(p, v);
}

INTARSIA_INLINE Ints ZeroInts() { return _mm512_setzero_si512(); }
INTARSIA_INLINE Floats ZeroFloats() { return _mm512_setzero_ps(); }
INTARSIA_INLINE Ints Spread(int32_t x) { return _mm512_set1_epi32(x); }
INTARSIA_INLINE Ints SpreadWord(int16_t x) { return _mm512_set1_epi16(x); }
INTARSIA_INLINE Floats Spread(float x) { return _mm512_set1_ps(x); }

INTARSIA_INLINE Ints And(Ints a, Ints b) { return _mm512_and_si512(a, b); }
INTARSIA_INLINE Ints Or(Ints a, Ints b) { return _mm512_or_si512(a, b); }
template <int bits>
INTARSIA_INLINE Ints ShiftWordsLeft(Ints v) {
  return bits == 0 ? v : _mm512_slli_epi16(v, bits);
}
template <int bits>
INTARSIA_INLINE Ints ShiftWordsRight(Ints v) {
  return bits == 0 ? v : _mm512_srli_epi16(v, bits);
}
INTARSIA_INLINE Ints SubWords(Ints a, Ints b) { return _mm512_sub_epi16(a, b); }
// The low 16 bits of products.
INTARSIA_INLINE Ints MulWords(Ints a, Ints b) {
  return _mm512_mullo_epi16(a, b);
}
INTARSIA_INLINE Ints Sub(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }

// sum + the products of pairs of 16 bits, two a lane.
INTARSIA_INLINE Ints AddProducts(Ints sum, Ints a, Ints b) {
  return _mm512_dpwssd_epi32(sum, a, b);
}

// A table of 16 signed bytes, and what words 0..15 pick from it.
INTARSIA_INLINE Ints LoadTable(const int8_t* table) {
  return _mm512_broadcast_i64x4(_mm256_cvtepi8_epi16(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(table))));
}
INTARSIA_INLINE Ints Lookup(Ints table, Ints words) {
  return _mm512_permutexvar_epi16(words, table);
}

INTARSIA_INLINE Ints FromBytes(const int8_t* p) {
  return _mm512_cvtepi8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// Each byte as both words of a lane.
INTARSIA_INLINE Ints WordsFromBytes(const int8_t* p) {
  const Ints v = FromBytes(p);
  return _mm512_mask_blend_epi16(0xAAAAAAAA, v, _mm512_slli_epi32(v, 16));
}

INTARSIA_INLINE Floats ToFloats(Ints v) { return _mm512_cvtepi32_ps(v); }
INTARSIA_INLINE Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
INTARSIA_INLINE Floats Mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
INTARSIA_INLINE Floats MulAdd(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
INTARSIA_INLINE Floats FromF16(const uint16_t* p) {
  return _mm512_cvtph_ps(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
INTARSIA_INLINE Floats FromBF16(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
      16));
}

}  // namespace intarsia::formats::avx512
INTARSIA_END_ISA
