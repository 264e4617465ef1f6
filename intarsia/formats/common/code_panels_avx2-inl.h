// Panels (panels_avx2-inl.h) of stored codes: the dwords of 16 rows' blocks,
// transposed, so that they take as many bytes as the rows did.
#pragma once

#include "intarsia/formats/common/panels_avx2-inl.h"

INTARSIA_BEGIN_AVX2
namespace intarsia::formats::panels {

// fp16 scales and minima of 16 rows.
template <bool minimum>
struct Halves {
  INTARSIA_INLINE __m256 Scale(int half) const {
    return _mm256_cvtph_ps(ReadAt<__m128i>(scale[half]));
  }
  INTARSIA_INLINE __m256 Minimum(int half) const {
    return _mm256_cvtph_ps(ReadAt<__m128i>(minima[half]));
  }
  // Of `row`'s block, which begins with them.
  INTARSIA_INLINE void Take(int row, const uint8_t* block) {
    scale[row / 8][row % 8] = ReadAt<uint16_t>(block);
    if constexpr (minimum) {
      minima[row / 8][row % 8] = ReadAt<uint16_t>(block + 2);
    }
  }

  uint16_t scale[2][8];
  uint16_t minima[minimum ? 2 : 0][8];
};

// Stored blocks: scale, minimum if `minimum`, 16 bytes of nibbles: number i in
// the low half of byte i, number 16 + i in the high half.
template <bool minimum>
struct alignas(32) NibblePanel {
  static constexpr int kHead = minimum ? 4 : 2;
  static constexpr int kBytes = kHead + 16;
  static constexpr int kOffset = minimum ? 0 : 8;
  static constexpr bool kMinimum = minimum;
  static constexpr bool kWords = false;

  template <int c>
  INTARSIA_INLINE __m256i Words(int half) const {
    constexpr int kShift = (c >= 8 ? 4 : 0) + c % 2 * 8;
    const __m256i codes = Load(dwords[c % 8 / 2][half]);
    const __m256i nibble = _mm256_set1_epi16(15);
    if constexpr (kShift == 0) return _mm256_and_si256(codes, nibble);
    if constexpr (kShift == 12) return _mm256_srli_epi16(codes, 12);
    return _mm256_and_si256(_mm256_srli_epi16(codes, kShift), nibble);
  }
  INTARSIA_INLINE __m256 Scale(int half) const { return head.Scale(half); }
  INTARSIA_INLINE __m256 Minimum(int half) const { return head.Minimum(half); }

  // Four rows in the lower and the upper half of each register.
  INTARSIA_INLINE void TakeRows(const uint8_t* const (&block)[kRows]) {
    for (int half = 0; half < 2; ++half) {
      __m256i v[4];
      for (int i = 0; i < 4; ++i) {
        v[i] =
            _mm256_setr_m128i(ReadAt<__m128i>(block[8 * half + i] + kHead),
                              ReadAt<__m128i>(block[8 * half + 4 + i] + kHead));
      }
      const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]);
      const __m256i b = _mm256_unpackhi_epi32(v[0], v[1]);
      const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]);
      const __m256i d = _mm256_unpackhi_epi32(v[2], v[3]);
      Store(dwords[0][half], _mm256_unpacklo_epi64(a, c));
      Store(dwords[1][half], _mm256_unpackhi_epi64(a, c));
      Store(dwords[2][half], _mm256_unpacklo_epi64(b, d));
      Store(dwords[3][half], _mm256_unpackhi_epi64(b, d));
    }
    for (int row = 0; row < kRows; ++row) head.Take(row, block[row]);
  }

  uint8_t dwords[4][2][32];
  Halves<minimum> head;
};
static_assert(sizeof(NibblePanel<false>) == 16 * 18);
static_assert(sizeof(NibblePanel<true>) == 16 * 20);

// Stored blocks: scale, 32 signed bytes; here 128 more, unsigned.
struct alignas(32) BytePanel {
  static constexpr int kBytes = 34;
  static constexpr int kOffset = 128;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = false;

  template <int c>
  INTARSIA_INLINE __m256i Words(int half) const {
    const __m256i codes = Load(dwords[c / 2][half]);
    return c % 2 == 0 ? _mm256_and_si256(codes, _mm256_set1_epi16(255))
                      : _mm256_srli_epi16(codes, 8);
  }
  INTARSIA_INLINE __m256 Scale(int half) const { return head.Scale(half); }

  INTARSIA_INLINE void TakeRows(const uint8_t* const (&block)[kRows]) {
    for (int half = 0; half < 2; ++half) {
      __m256i v[8];
      for (int i = 0; i < 8; ++i) {
        v[i] = _mm256_xor_si256(ReadAt<__m256i>(block[8 * half + i] + 2),
                                _mm256_set1_epi8(-128));
      }
      Transpose(v);
      for (int i = 0; i < 8; ++i) Store(dwords[i][half], v[i]);
    }
    for (int row = 0; row < kRows; ++row) head.Take(row, block[row]);
  }

  uint8_t dwords[8][2][32];
  Halves<false> head;
};
static_assert(sizeof(BytePanel) == 16 * 34);

// PreparedKernels::pack: absent rows become zeros.
template <class Panel>
void PackCodes(const std::byte* w, size_t w_stride, int64_t rows, int64_t k,
               std::byte* out) {
  static constexpr uint8_t kNothing[Panel::kBytes] = {};
  auto* panel = reinterpret_cast<Panel*>(out);
  for (int64_t b = 0; b < k / 32; ++b) {
    const uint8_t* block[kRows];
    for (int row = 0; row < kRows; ++row) {
      block[row] = row < rows ? reinterpret_cast<const uint8_t*>(w) +
                                    row * w_stride + b * Panel::kBytes
                              : kNothing;
    }
    panel[b].TakeRows(block);
  }
}

template <class Panel>
constexpr PreparedKernels CodeKernels() {
  return Kernels<Panel>(&PackCodes<Panel>);
}

}  // namespace intarsia::formats::panels
INTARSIA_END_AVX2
