#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "intarsia/formats/common/activations.h"
#include "intarsia/formats/common/avx512.h"

INTARSIA_BEGIN_AVX512
namespace intarsia::formats {
namespace {

// 16 codes as two planes of bytes.
INTARSIA_INLINE void StorePlanes(__m512i codes, int8_t* high, int8_t* low) {
  const __m512i upper =
      _mm512_srai_epi32(_mm512_add_epi32(codes, _mm512_set1_epi32(64)), 7);
  const __m512i lower = _mm512_sub_epi32(codes, _mm512_slli_epi32(upper, 7));
  _mm_store_si128(reinterpret_cast<__m128i*>(high),
                  _mm512_cvtepi32_epi8(upper));
  _mm_store_si128(reinterpret_cast<__m128i*>(low), _mm512_cvtepi32_epi8(lower));
}

INTARSIA_INLINE __m512i Codes(__m512 x, __m512 inverse) {
  const __m512i limit = _mm512_set1_epi32(kCodeLimit);
  const __m512i codes = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
  return _mm512_max_epi32(_mm512_min_epi32(codes, limit),
                          _mm512_sub_epi32(_mm512_setzero_si512(), limit));
}

INTARSIA_INLINE void PrepareBlock(const float* x, PlaneGroup* group,
                                  int block) {
  __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
  constexpr int kNotFinite = 0x99;  // both NaNs, both infinities
  const bool finite = (_mm512_fpclass_ps_mask(a, kNotFinite) |
                       _mm512_fpclass_ps_mask(b, kNotFinite)) == 0;
  float scale = NAN;
  __m512i codes_a = _mm512_setzero_si512(), codes_b = codes_a;
  if (finite) {
    const float most =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    scale = most / kCodeLimit;
    // Finite also where the least numbers have no inverse.
    const float inverse =
        most > 0 ? std::min(kCodeLimit / most, FLT_MAX) : 0.0f;
    codes_a = Codes(a, _mm512_set1_ps(inverse));
    codes_b = Codes(b, _mm512_set1_ps(inverse));
  }
  StorePlanes(codes_a, group->high + block * 16, group->low + block * 16);
  StorePlanes(codes_b, group->high + 64 + block * 16,
              group->low + 64 + block * 16);
  const int32_t sum =
      _mm512_reduce_add_epi32(_mm512_add_epi32(codes_a, codes_b));
  _mm_store_ps(group->of.scale + block * 4, _mm_set1_ps(scale));
  _mm_store_ps(group->of.sum + block * 4,
               _mm_set1_ps(scale * static_cast<float>(sum)));
  _mm_store_si128(reinterpret_cast<__m128i*>(group->of.codes + block * 4),
                  _mm_set1_epi32(sum));
}

}  // namespace

void PreparePlanes(const float* x, int64_t k, std::byte* out) {
  auto* group = reinterpret_cast<PlaneGroup*>(out);
  const int64_t blocks = k / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % 4 == 0 && b + 4 > blocks) {
      std::memset(static_cast<void*>(group + b / 4), 0, sizeof(*group));
    }
    PrepareBlock(x + b * 32, group + b / 4, static_cast<int>(b % 4));
  }
}

}  // namespace intarsia::formats
INTARSIA_END_AVX512
