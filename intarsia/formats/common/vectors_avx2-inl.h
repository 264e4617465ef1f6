// The vectors of panels-inl.h by AVX2: 8 lanes of 32 bits.
#pragma once

#include <cstdint>

#include "intarsia/formats/common/avx2.h"

#define INTARSIA_ISA avx2
#define INTARSIA_BEGIN_ISA INTARSIA_BEGIN_AVX2
#define INTARSIA_END_ISA INTARSIA_END_AVX2

INTARSIA_BEGIN_ISA
namespace intarsia::formats::avx2 {

using Ints = __m256i;
using Floats = __m256;
inline constexpr int kLanes = 8;
// Rows of X whose sums are computed together, as registers allow.
inline constexpr int kTileRows = 4;
// From so many rows of X on, unpacking a panel once for all pays.
inline constexpr int64_t kUnpackRows = 16;

INTARSIA_INLINE Ints Load(const void* p) {
  return _mm256_load_si256(static_cast<const Ints*>(p));
}
INTARSIA_INLINE void Store(void* p, Ints v) {
  _mm256_store_si256(static_cast<Ints*>(p), v);
}
INTARSIA_INLINE Floats LoadFloats(const float* p) { return _mm256_load_ps(p); }
INTARSIA_INLINE void StoreFloats(float* p, Floats v) { _mm256_store_ps(p, v); }
INTARSIA_INLINE Floats LoadAnywhere(const float* p) {
  return _mm256_loadu_ps(p);
}
INTARSIA_INLINE void StoreAnywhere(float* p, Floats v) {
  _mm256_storeu_ps(p, v);
}

INTARSIA_INLINE Ints ZeroInts() { return _mm256_setzero_si256(); }
INTARSIA_INLINE Floats ZeroFloats() { return _mm256_setzero_ps(); }
INTARSIA_INLINE Ints Spread(int32_t x) { return _mm256_set1_epi32(x); }
INTARSIA_INLINE Ints SpreadWord(int16_t x) { return _mm256_set1_epi16(x); }
INTARSIA_INLINE Floats Spread(float x) { return _mm256_set1_ps(x); }

INTARSIA_INLINE Ints And(Ints a, Ints b) { return _mm256_and_si256(a, b); }
INTARSIA_INLINE Ints Or(Ints a, Ints b) { return _mm256_or_si256(a, b); }
template <int bits>
INTARSIA_INLINE Ints ShiftWordsLeft(Ints v) {
  return bits == 0 ? v : _mm256_slli_epi16(v, bits);
}
template <int bits>
INTARSIA_INLINE Ints ShiftWordsRight(Ints v) {
  return bits == 0 ? v : _mm256_srli_epi16(v, bits);
}
INTARSIA_INLINE Ints SubWords(Ints a, Ints b) { return _mm256_sub_epi16(a, b); }
// The low 16 bits of products.
INTARSIA_INLINE Ints MulWords(Ints a, Ints b) {
  return _mm256_mullo_epi16(a, b);
}
INTARSIA_INLINE Ints Sub(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }

// sum + the products of pairs of 16 bits, two a lane. Computed here: left
// alone, g++ adds in an order of its own, for which it keeps dozens of products
// on the stack.
INTARSIA_INLINE Ints AddProducts(Ints sum, Ints a, Ints b) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  asm volatile("" : "+x"(sum));
  return sum;
}

// A table of 16 signed bytes, and what words 0..15 pick from it.
INTARSIA_INLINE Ints LoadTable(const int8_t* table) {
  return _mm256_broadcastsi128_si256(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}
INTARSIA_INLINE Ints Lookup(Ints table, Ints words) {
  const Ints bytes = _mm256_shuffle_epi8(table, words);
  return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
}

INTARSIA_INLINE Ints FromBytes(const int8_t* p) {
  return _mm256_cvtepi8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
// Each byte as both words of a lane.
INTARSIA_INLINE Ints WordsFromBytes(const int8_t* p) {
  const Ints v = FromBytes(p);
  return _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xAA);
}

INTARSIA_INLINE Floats ToFloats(Ints v) { return _mm256_cvtepi32_ps(v); }
INTARSIA_INLINE Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
INTARSIA_INLINE Floats Mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
INTARSIA_INLINE Floats MulAdd(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
INTARSIA_INLINE Floats FromF16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
INTARSIA_INLINE Floats FromBF16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
      16));
}

}  // namespace intarsia::formats::avx2
INTARSIA_END_ISA
