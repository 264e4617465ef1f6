// Products of integer activations (activations.h) with blocks of 32 integer
// codes, by vpdpbusd. Included between INTARSIA_BEGIN_AVX512 and its end, after
// avx512.h. A room gives a Block:
//
//   struct Block {
//     static constexpr int kBytes;       // stored bytes of 32 numbers
//     static constexpr int kShift;       // a number is d (code - 2^kShift), or
//     static constexpr bool kMinimum;    // with a minimum d code + m
//     // Unsigned codes of `blocks` ≤ 4 blocks, in the order of
//     // PlaneGroup; absent blocks are zeros. Scales go into fp16 lanes
//     // 4 j + row (minima 16 + 4 j + row) of *halves for block j.
//     template <int row> static void Load(const uint8_t* p, int blocks,
//                                         __m512i* low, __m512i* high,
//                                         __m512i* halves);
//   };
//
// The sum. For each block the integer Σ code_x (code_w - 2^kShift) is exact;
// partial sum j adds float(integer) · (d · scale), and m · (scale Σ code_x), of
// the blocks b ≡ j mod 4 in ascending order by fused multiply-add. The result
// is (p0 + p2) + (p1 + p3). Stored rows and panels do the same operations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "intarsia/formats/common/activations.h"
#include "intarsia/formats/common/avx512.h"
#include "intarsia/formats/common/prepared.h"
#include "intarsia/formats/common/transpose_avx512-inl.h"

INTARSIA_BEGIN_AVX512
namespace intarsia::formats {

// Codes times both planes: 128 Σ high + Σ low.
INTARSIA_INLINE __m512i DotPlanes(__m512i low, __m512i high,
                                  const PlaneGroup& x) {
  __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low,
                                    _mm512_load_si512(x.high));
  sum = _mm512_dpbusd_epi32(sum, high, _mm512_load_si512(x.high + 64));
  sum = _mm512_slli_epi32(sum, 7);
  sum = _mm512_dpbusd_epi32(sum, low, _mm512_load_si512(x.low));
  return _mm512_dpbusd_epi32(sum, high, _mm512_load_si512(x.low + 64));
}

// Lane 4 j + i of the result: the four lanes of 128 bits j of sum[i], added.
INTARSIA_INLINE __m512i AddQuads(const __m512i (&sum)[4]) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(sum[0], sum[1]),
                                      _mm512_unpackhi_epi32(sum[0], sum[1]));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(sum[2], sum[3]),
                                      _mm512_unpackhi_epi32(sum[2], sum[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd),
                          _mm512_unpackhi_epi64(ab, cd));
}

template <class Block>
INTARSIA_INLINE __m512 Scales(__m512i halves) {
  return _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
}
template <class Block>
INTARSIA_INLINE __m512 Minima(__m512i halves) {
  return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
}

// The partial sums of a group of blocks; `lanes` are those of real blocks.
template <class Block, int M>
INTARSIA_INLINE void AddGroup(const uint8_t* const (&w)[4], int blocks,
                              const std::byte* x, size_t x_stride,
                              __mmask16 lanes, __m512 (&partial)[M]) {
  __m512i low[4], high[4], halves = _mm512_setzero_si512();
  Block::template Load<0>(w[0], blocks, &low[0], &high[0], &halves);
  Block::template Load<1>(w[1], blocks, &low[1], &high[1], &halves);
  Block::template Load<2>(w[2], blocks, &low[2], &high[2], &halves);
  Block::template Load<3>(w[3], blocks, &low[3], &high[3], &halves);
  const __m512 d = Scales<Block>(halves);
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    const auto& group = *reinterpret_cast<const PlaneGroup*>(x + m * x_stride);
    __m512i sums[4];
    INTARSIA_UNROLL
    for (int n = 0; n < 4; ++n) sums[n] = DotPlanes(low[n], high[n], group);
    __m512i sum = AddQuads(sums);
    if constexpr (!Block::kMinimum) {
      sum = _mm512_sub_epi32(
          sum,
          _mm512_slli_epi32(_mm512_load_si512(group.of.codes), Block::kShift));
    }
    const __m512 scale = _mm512_mul_ps(d, _mm512_load_ps(group.of.scale));
    partial[m] = _mm512_mask3_fmadd_ps(_mm512_cvtepi32_ps(sum), scale,
                                       partial[m], lanes);
    if constexpr (Block::kMinimum) {
      partial[m] = _mm512_mask3_fmadd_ps(Minima<Block>(halves),
                                         _mm512_load_ps(group.of.sum),
                                         partial[m], lanes);
    }
  }
}

// M rows of X and rows n, n + apart, ... of W, up to four.
template <class Block, int M>
__attribute__((noinline)) void DotTile(const PreparedArgs& a,
                                       const std::byte* x, int64_t n, float* y,
                                       int64_t apart) {
  const int64_t columns = (a.n - n + apart - 1) / apart;
  const uint8_t* w[4];
  for (int i = 0; i < 4; ++i) {  // missing rows repeat the last
    w[i] = reinterpret_cast<const uint8_t*>(a.w) +
           (n + std::min<int64_t>(i, columns - 1) * apart) * a.w_stride;
  }
  __m512 partial[M];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) partial[m] = _mm512_setzero_ps();
  int64_t blocks = a.k / 32;
  for (; blocks >= 4; blocks -= 4) {
    AddGroup<Block, M>(w, 4, x, a.x_stride, 0xFFFF, partial);
    x += sizeof(PlaneGroup);
    INTARSIA_UNROLL
    for (int i = 0; i < 4; ++i) w[i] += 4 * Block::kBytes;
  }
  if (blocks > 0) {
    AddGroup<Block, M>(w, static_cast<int>(blocks), x, a.x_stride,
                       static_cast<__mmask16>((1 << 4 * blocks) - 1), partial);
  }
  for (int m = 0; m < M; ++m) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(partial[m]),
                                      _mm512_extractf32x8_ps(partial[m], 1));
    alignas(16) float sum[4];
    _mm_store_ps(sum, _mm_add_ps(_mm256_castps256_ps128(half),
                                 _mm256_extractf128_ps(half, 1)));
    for (int64_t i = 0; i < columns; ++i) {
      const int64_t row = n + i * apart;
      y[m * a.y_stride + row] =
          a.bias == nullptr ? sum[i] : sum[i] + a.bias[row];
    }
  }
}

// A tile's rows lie a quarter of W apart, as in matmul-inl.h.
template <class Block>
void DotPrepared(const PreparedArgs& a) {
  const int64_t apart = (a.n + 3) / 4;
  int64_t m = 0;
  while (m < a.m) {
    const int64_t rows = std::min<int64_t>(4, a.m - m);
    const std::byte* x = a.x + m * a.x_stride;
    float* y = a.y + m * a.y_stride;
    for (int64_t n = 0; n < apart; ++n) {
      if (rows == 1) DotTile<Block, 1>(a, x, n, y, apart);
      if (rows == 2) DotTile<Block, 2>(a, x, n, y, apart);
      if (rows == 3) DotTile<Block, 3>(a, x, n, y, apart);
      if (rows == 4) DotTile<Block, 4>(a, x, n, y, apart);
    }
    m += rows;
  }
}

// A panel: 32 rows of W, block after block. Lane n of a vector is row n (or
// 16 + n), and codes[c] holds four numbers of it that follow each other, in the
// order of PlaneGroup.
template <class Block>
struct alignas(64) PanelBlock {
  uint8_t codes[8][2][64];
  float scale[2][16];
  float minimum[Block::kMinimum ? 2 : 0][16];
};

template <class Block>
size_t PanelBytes(int64_t k) {
  return static_cast<size_t>(k / 32) * sizeof(PanelBlock<Block>);
}

// 16 rows of W, lanes `half` of the panel.
template <class Block>
void PackHalf(const std::byte* w, size_t w_stride, int64_t rows, int64_t k,
              int half, PanelBlock<Block>* panel) {
  for (int64_t b = 0; b < k / 32; b += 4) {
    const int blocks = static_cast<int>(std::min<int64_t>(4, k / 32 - b));
    __m512i low[16], high[16];
    alignas(64) uint16_t halves[4][32];
    for (int i = 0; i < 16; ++i) low[i] = high[i] = _mm512_setzero_si512();
    for (int r = 0; r < 16; r += 4) {
      __m512i words = _mm512_setzero_si512();
      const auto* p = reinterpret_cast<const uint8_t*>(w + r * w_stride) +
                      b * Block::kBytes;
      if (r + 0 < rows) {
        Block::template Load<0>(p, blocks, &low[r], &high[r], &words);
      }
      if (r + 1 < rows) {
        Block::template Load<1>(p + w_stride, blocks, &low[r + 1], &high[r + 1],
                                &words);
      }
      if (r + 2 < rows) {
        Block::template Load<2>(p + 2 * w_stride, blocks, &low[r + 2],
                                &high[r + 2], &words);
      }
      if (r + 3 < rows) {
        Block::template Load<3>(p + 3 * w_stride, blocks, &low[r + 3],
                                &high[r + 3], &words);
      }
      _mm512_store_si512(halves[r / 4], words);
    }
    Transpose(low);
    Transpose(high);
    for (int j = 0; j < blocks; ++j) {
      PanelBlock<Block>& to = panel[b + j];
      for (int c = 0; c < 4; ++c) {
        _mm512_store_si512(to.codes[c][half], low[4 * j + c]);
        _mm512_store_si512(to.codes[4 + c][half], high[4 * j + c]);
      }
      alignas(32) uint16_t words[2][16];
      for (int n = 0; n < 16; ++n) {
        words[0][n] = halves[n / 4][4 * j + n % 4];
        words[1][n] = halves[n / 4][16 + 4 * j + n % 4];
      }
      const auto* from = reinterpret_cast<const __m256i*>(words);
      _mm512_store_ps(to.scale[half], _mm512_cvtph_ps(_mm256_load_si256(from)));
      if constexpr (Block::kMinimum) {
        _mm512_store_ps(to.minimum[half],
                        _mm512_cvtph_ps(_mm256_load_si256(from + 1)));
      }
    }
  }
}

template <class Block>
void PackPanel(const std::byte* w, size_t w_stride, int64_t rows, int64_t k,
               std::byte* panel) {
  auto* to = reinterpret_cast<PanelBlock<Block>*>(panel);
  PackHalf<Block>(w, w_stride, rows, k, 0, to);
  PackHalf<Block>(w + 16 * w_stride, w_stride, rows - 16, k, 1, to);
}

// Where block j of a group of activations keeps what, from its own place at
// 16 j bytes: the same distance for every j.
constexpr int64_t kLowPlane = 128, kScale = 256, kSum = 320, kCodes = 384;
static_assert(offsetof(PlaneGroup, low) == kLowPlane &&
              offsetof(PlaneGroup, of.scale) == kScale &&
              offsetof(PlaneGroup, of.sum) == kSum &&
              offsetof(PlaneGroup, of.codes) == kCodes);

template <typename T>
INTARSIA_INLINE T ReadAt(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Adds a plane of a block: 8 vectors of codes against one dword of X each.
template <int M>
INTARSIA_INLINE void AddPlane(const uint8_t (&codes)[8][2][64],
                              const std::byte* const (&x)[M], int64_t plane,
                              __m512i (&sum)[M][2]) {
  INTARSIA_UNROLL
  for (int c = 0; c < 8; ++c) {
    const __m512i w0 = _mm512_load_si512(codes[c][0]);
    const __m512i w1 = _mm512_load_si512(codes[c][1]);
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) {
      const __m512i xs = _mm512_set1_epi32(
          ReadAt<int32_t>(x[m] + plane + c / 4 * 64 + c % 4 * 4));
      sum[m][0] = _mm512_dpbusd_epi32(sum[m][0], w0, xs);
      sum[m][1] = _mm512_dpbusd_epi32(sum[m][1], w1, xs);
    }
  }
}

// x[m] is the place of the block in row m.
template <class Block, int M>
INTARSIA_INLINE void AddPanelBlock(const PanelBlock<Block>& w,
                                   const std::byte* const (&x)[M],
                                   __m512 (&partial)[M][2]) {
  __m512i sum[M][2];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) sum[m][0] = sum[m][1] = _mm512_setzero_si512();
  AddPlane<M>(w.codes, x, 0, sum);
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    sum[m][0] = _mm512_slli_epi32(sum[m][0], 7);
    sum[m][1] = _mm512_slli_epi32(sum[m][1], 7);
  }
  AddPlane<M>(w.codes, x, kLowPlane, sum);
  const __m512 d[2] = {_mm512_load_ps(w.scale[0]), _mm512_load_ps(w.scale[1])};
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    const __m512 scale = _mm512_set1_ps(ReadAt<float>(x[m] + kScale));
    INTARSIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      if constexpr (!Block::kMinimum) {
        sum[m][i] = _mm512_sub_epi32(
            sum[m][i],
            _mm512_set1_epi32(ReadAt<int32_t>(x[m] + kCodes) << Block::kShift));
      }
      partial[m][i] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[m][i]),
                          _mm512_mul_ps(d[i], scale), partial[m][i]);
      if constexpr (Block::kMinimum) {
        partial[m][i] = _mm512_fmadd_ps(
            _mm512_load_ps(w.minimum[i]),
            _mm512_set1_ps(ReadAt<float>(x[m] + kSum)), partial[m][i]);
      }
    }
  }
}

// Partial sum j of M rows of X against a whole panel.
template <class Block, int M>
INTARSIA_INLINE void PanelPartial(const PreparedArgs& a, int64_t m0, int64_t j,
                                  __m512 (&partial)[M][2]) {
  const auto* panel = reinterpret_cast<const PanelBlock<Block>*>(a.w);
  const int64_t blocks = a.k / 32;
  const std::byte* x[M];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    x[m] = a.x + (m0 + m) * a.x_stride + 16 * j;
    partial[m][0] = partial[m][1] = _mm512_setzero_ps();
  }
  for (int64_t b = j; b < blocks; b += 4) {
    // M pointers in registers: left alone, g++ keeps one for each address.
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) asm("" : "+r"(x[m]));
    AddPanelBlock<Block, M>(panel[b], x, partial);
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) x[m] += sizeof(PlaneGroup);
  }
}

template <class Block, int M>
__attribute__((noinline)) void PanelTile(const PreparedArgs& a, int64_t m0) {
  __m512 pair[2][M][2];  // p0 + p2, p1 + p3
  for (int j = 0; j < 4; ++j) {
    __m512 partial[M][2];
    PanelPartial<Block, M>(a, m0, j, partial);
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) {
      INTARSIA_UNROLL
      for (int i = 0; i < 2; ++i) {
        __m512& to = pair[j % 2][m][i];
        to = j < 2 ? partial[m][i] : _mm512_add_ps(to, partial[m][i]);
      }
    }
  }
  for (int i = 0; i < 2; ++i) {
    const int64_t columns = std::clamp<int64_t>(a.n - 16 * i, 0, 16);
    const auto mask = static_cast<__mmask16>((1 << columns) - 1);
    if (mask == 0) break;
    for (int m = 0; m < M; ++m) {
      __m512 sum = _mm512_add_ps(pair[0][m][i], pair[1][m][i]);
      if (a.bias != nullptr) {
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, a.bias + 16 * i));
      }
      _mm512_mask_storeu_ps(a.y + (m0 + m) * a.y_stride + 16 * i, mask, sum);
    }
  }
}

template <class Block>
void PanelDot(const PreparedArgs& a) {
  int64_t m = 0;
  for (; m + 6 <= a.m; m += 6) PanelTile<Block, 6>(a, m);
  switch (a.m - m) {
    case 5:
      return PanelTile<Block, 5>(a, m);
    case 4:
      return PanelTile<Block, 4>(a, m);
    case 3:
      return PanelTile<Block, 3>(a, m);
    case 2:
      return PanelTile<Block, 2>(a, m);
    case 1:
      return PanelTile<Block, 1>(a, m);
  }
}

template <class Block>
constexpr PreparedKernels IntegerKernels() {
  PreparedKernels kernels{};
  kernels.x_bytes = &ActivationBytes;
  kernels.prepare = &PreparePlanes;
  kernels.dot = &DotPrepared<Block>;
  // Below, unpacking blocks once for four rows costs less than a panel.
  kernels.panel_from = 24;
  kernels.panel_rows = 32;
  kernels.panel_bytes = &PanelBytes<Block>;
  kernels.pack = &PackPanel<Block>;
  kernels.panel_dot = &PanelDot<Block>;
  return kernels;
}

}  // namespace intarsia::formats
INTARSIA_END_AVX512
