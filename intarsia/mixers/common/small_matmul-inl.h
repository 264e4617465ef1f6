// C = A B for the small matrices of a chunk, included by *_cpu.cc files once
// per SIMD target. Each element of C is one fused multiply-add chain over the
// inner index in ascending order, so its bits depend neither on the tile it
// falls into nor on the number of rows.
#if defined(INTARSIA_SMALL_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_SMALL_MATMUL_INL_H_
#undef INTARSIA_SMALL_MATMUL_INL_H_
#else
#define INTARSIA_SMALL_MATMUL_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace intarsia::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What a row block of C needs of the inner range, and which columns of C it
// writes, when A or C is lower triangular (zero above the diagonal).
enum class Shape2 { kFull, kLowerA, kUpperA, kLowerC };

struct SmallMatmul {
  const float* a;  // [m, k], row stride lda
  int64_t lda;
  const float* b;  // [k, n], row stride ldb
  int64_t ldb;
  float* c;  // [m, n], row stride ldc
  int64_t ldc;
  int64_t m, n, k;
  // C starts from `keep` · C, or from 0 without reading C when keep is 0.
  float keep = 0.0f;
  // Row i of the finished C is multiplied by this; null for 1.
  const float* row_scale = nullptr;
  Shape2 shape = Shape2::kFull;
};

template <int kRows, int kVectors, bool kPartial>
HWY_INLINE void MatmulTile(const SmallMatmul& s, int64_t i, int64_t j,
                           int64_t k0, int64_t k1) {
  const hn::ScalableTag<float> d;
  using Vec = decltype(hn::Zero(d));
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto mask = hn::FirstN(d, kPartial ? s.n - j : lanes);
  Vec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      const float* c = s.c + (i + r) * s.ldc + j + v * lanes;
      if (s.keep == 0.0f) {
        sum[r][v] = hn::Zero(d);
      } else {
        const Vec old = kPartial ? hn::MaskedLoad(mask, d, c) : hn::LoadU(d, c);
        sum[r][v] = hn::Mul(hn::Set(d, s.keep), old);
      }
    }
  }
  for (int64_t k = k0; k < k1; ++k) {
    Vec b[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const float* row = s.b + k * s.ldb + j + v * lanes;
      b[v] = kPartial ? hn::MaskedLoad(mask, d, row) : hn::LoadU(d, row);
    }
    for (int r = 0; r < kRows; ++r) {
      const Vec a = hn::Set(d, s.a[(i + r) * s.lda + k]);
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = hn::MulAdd(a, b[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const Vec scale = hn::Set(d, s.row_scale ? s.row_scale[i + r] : 1.0f);
    for (int v = 0; v < kVectors; ++v) {
      float* c = s.c + (i + r) * s.ldc + j + v * lanes;
      const Vec value = s.row_scale ? hn::Mul(scale, sum[r][v]) : sum[r][v];
      if (kPartial) {
        hn::BlendedStore(value, mask, d, c);
      } else {
        hn::StoreU(value, d, c);
      }
    }
  }
}

template <int kRows>
HWY_INLINE void MatmulRows(const SmallMatmul& s, int64_t i) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t k0 = s.shape == Shape2::kUpperA ? std::min(i, s.k) : 0;
  const int64_t k1 =
      s.shape == Shape2::kLowerA ? std::min(i + kRows, s.k) : s.k;
  const int64_t n = s.shape == Shape2::kLowerC ? std::min(i + kRows, s.n) : s.n;
  int64_t j = 0;
  for (; j + 3 * lanes <= s.n && j < n; j += 3 * lanes) {
    MatmulTile<kRows, 3, false>(s, i, j, k0, k1);
  }
  for (; j + lanes <= s.n && j < n; j += lanes) {
    MatmulTile<kRows, 1, false>(s, i, j, k0, k1);
  }
  if (j < n) MatmulTile<kRows, 1, true>(s, i, j, k0, k1);
}

// Triangular shapes still read A, and write C, a few columns past the diagonal;
// A must hold zeros there.
HWY_INLINE void Multiply(const SmallMatmul& s) {
  int64_t i = 0;
  for (; i + 4 <= s.m; i += 4) MatmulRows<4>(s, i);
  for (; i < s.m; ++i) MatmulRows<1>(s, i);
}

// out [columns, rows] = in [rows, columns]ᵀ, with their row strides.
HWY_INLINE void Transpose(const float* in, int64_t in_stride, int64_t rows,
                          int64_t columns, float* out, int64_t out_stride) {
  constexpr int64_t kBlock = 16;  // of cache lines on both sides
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
    const int64_t r1 = std::min(rows, r0 + kBlock);
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t r = r0; r < r1; ++r) {
        out[c * out_stride + r] = in[r * in_stride + c];
      }
    }
  }
}

}  // namespace intarsia::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // INTARSIA_SMALL_MATMUL_INL_H_
