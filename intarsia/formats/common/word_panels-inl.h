// Panels (panels-inl.h) of 16-bit weights as integers with a scale a block of
// 32, for vpmaddwd and vpdpwssd: they do twice the multiply-adds of fp32, so
// many rows of X take half the time.
//
// number ≈ scale · code. The scale is the least bf16 with |code| ≤ 32767 and
// Σ |code| ≤ 132,000 over the block, so that products with activations of 15
// bits (activations.h) sum exactly in 32 bits. A number errs by half a scale at
// most: of normally distributed weights 6e-5 of their deviation, where f16
// itself rounds by 1.4e-4 and bf16 by 1.1e-3 of each number. Only packed
// weights are multiplied so (packing.h); stored ones meet fp32.
#pragma once

#include <immintrin.h>

#include <cfloat>
#include <cmath>

#include "intarsia/formats/common/panels-inl.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

// The sum over a block must fit 32 bits whatever X is:
// kCodeLimit Σ |code| < 2^31, with room for rounding to whole codes.
constexpr float kCodeSum = 132000;
constexpr float kMostCode = 32767;
static_assert(int64_t{kCodeLimit} * (static_cast<int64_t>(kCodeSum) + 16) <
              (int64_t{1} << 31));

// number ≈ scale · code; a bf16 scale a row, so that a panel is 3 % larger than
// the 16-bit numbers.
struct alignas(4 * kLanes) HalfPanel {
  static constexpr int kBlocks = 1;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = true;

  const HalfPanel& At(int) const { return *this; }
  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    return Load(pairs[c][half]);
  }
  INTARSIA_INLINE Floats Scale(int half) const { return FromBF16(scale[half]); }

  uint32_t pairs[16][2][kLanes];  // of codes
  uint16_t scale[2][kLanes];
};
static_assert(sizeof(HalfPanel) == kRows * 66);

// Eight numbers as stored.
struct StoredBF16 {
  static INTARSIA_INLINE __m256 Get(const std::byte* p) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(ReadAt<__m128i>(p)), 16));
  }
};
struct StoredF16 {
  static INTARSIA_INLINE __m256 Get(const std::byte* p) {
    return _mm256_cvtph_ps(ReadAt<__m128i>(p));
  }
};

struct Reduced {
  float most, sum;
};
INTARSIA_INLINE Reduced Reduce(__m256 most, __m256 sum) {
  __m128 m =
      _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
  __m128 s =
      _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return {_mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m))),
          _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))};
}

// The least bf16 that is no less, as its bits.
INTARSIA_INLINE uint16_t UpToBF16(float scale) {
  return static_cast<uint16_t>((ReadAt<uint32_t>(&scale) + 0xFFFF) >> 16);
}

// 32 numbers as codes, in the order of WordGroup, and the bits of their scale.
template <class Stored>
INTARSIA_INLINE uint16_t Codes(const std::byte* p, uint32_t (&pairs)[16]) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 v[4], most = _mm256_setzero_ps(), sum = most;
  INTARSIA_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = Stored::Get(p + 16 * i);
    const __m256 size = _mm256_andnot_ps(sign, v[i]);
    most = _mm256_max_ps(most, size);
    sum = _mm256_add_ps(sum, size);
  }
  const Reduced size = Reduce(most, sum);
  std::fill_n(pairs, 16, 0);
  if (!(size.sum <= FLT_MAX)) return 0x7FC0;  // NaN: a fault stays visible
  const uint16_t bits =
      UpToBF16(std::max(size.most / kMostCode, size.sum / kCodeSum));
  const uint32_t wide = uint32_t{bits} << 16;
  const float scale = ReadAt<float>(&wide);
  if (scale == 0) return 0;
  const __m256 inverse = _mm256_set1_ps(std::min(1 / scale, FLT_MAX));
  INTARSIA_UNROLL
  for (int i = 0; i < 2; ++i) {
    const __m256i packed = _mm256_permute4x64_epi64(
        _mm256_packs_epi32(
            _mm256_cvtps_epi32(_mm256_mul_ps(v[2 * i], inverse)),
            _mm256_cvtps_epi32(_mm256_mul_ps(v[2 * i + 1], inverse))),
        0xD8);
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(pairs + 8 * i),
        _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(packed, 0xD8), 0xD8));
  }
  return bits;
}

template <class Stored>
void PackHalves(const std::byte* w, size_t w_stride, int64_t rows, int64_t k,
                std::byte* out) {
  auto* panel = reinterpret_cast<HalfPanel*>(out);
  for (int64_t b = 0; b < k / 32; ++b, ++panel) {
    for (int row = 0; row < kRows; ++row) {
      uint32_t pairs[16] = {};
      uint16_t scale = 0;
      if (row < rows) scale = Codes<Stored>(w + row * w_stride + b * 64, pairs);
      for (int c = 0; c < 16; ++c) {
        panel->pairs[c][row / kLanes][row % kLanes] = pairs[c];
      }
      panel->scale[row / kLanes][row % kLanes] = scale;
    }
  }
}

template <class Stored>
constexpr PreparedKernels WordKernels() {
  return Kernels<HalfPanel>(&PackHalves<Stored>);
}

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
