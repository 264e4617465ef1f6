#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "intarsia/formats/common/activations.h"
#include "intarsia/formats/common/avx2.h"

INTARSIA_BEGIN_AVX2
namespace intarsia::formats {
namespace {

INTARSIA_INLINE float MaxOfLanes(__m256 v) {
  __m128 most =
      _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

INTARSIA_INLINE int32_t SumOfLanes(__m256i v) {
  __m128i sum =
      _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

INTARSIA_INLINE __m256i Codes(__m256 x, __m256 inverse) {
  const __m256i codes = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
  return _mm256_max_epi32(
      _mm256_min_epi32(codes, _mm256_set1_epi32(kCodeLimit)),
      _mm256_set1_epi32(-kCodeLimit));
}

INTARSIA_INLINE void PrepareBlock(const float* x, WordGroup* group, int block) {
  __m256 v[4];
  const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(FLT_MAX);
  __m256 most = _mm256_setzero_ps(),
         finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
  INTARSIA_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256 size = _mm256_andnot_ps(sign, v[i]);
    most = _mm256_max_ps(most, size);
    finite = _mm256_and_ps(finite, _mm256_cmp_ps(size, largest, _CMP_LE_OQ));
  }
  float scale = NAN, inverse = 0;
  if (_mm256_movemask_ps(finite) == 0xFF) {
    const float size = MaxOfLanes(most);
    scale = size / kCodeLimit;
    // Finite also where the least numbers have no inverse.
    if (size > 0) inverse = std::min(kCodeLimit / size, FLT_MAX);
  } else {
    for (__m256& some : v) some = _mm256_setzero_ps();
  }
  __m256i sum = _mm256_setzero_si256();
  INTARSIA_UNROLL
  for (int i = 0; i < 4; i += 2) {
    const __m256i a = Codes(v[i], _mm256_set1_ps(inverse));
    const __m256i b = Codes(v[i + 1], _mm256_set1_ps(inverse));
    sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    _mm256_store_si256(  // numbers 0, 2, 1, 3 of each four
        reinterpret_cast<__m256i*>(group->code[block] + 8 * i),
        _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(words, 0xD8), 0xD8));
  }
  const int32_t total = SumOfLanes(sum);
  _mm_store_ps(group->of.scale + block * 4, _mm_set1_ps(scale));
  _mm_store_ps(group->of.sum + block * 4,
               _mm_set1_ps(scale * static_cast<float>(total)));
  _mm_store_si128(reinterpret_cast<__m128i*>(group->of.codes + block * 4),
                  _mm_set1_epi32(total));
}

}  // namespace

void PrepareWords(const float* x, int64_t k, std::byte* out) {
  auto* group = reinterpret_cast<WordGroup*>(out);
  const int64_t blocks = k / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % 4 == 0 && b + 4 > blocks) {
      std::memset(static_cast<void*>(group + b / 4), 0, sizeof(*group));
    }
    PrepareBlock(x + b * 32, group + b / 4, static_cast<int>(b % 4));
  }
}

}  // namespace intarsia::formats
INTARSIA_END_AVX2
