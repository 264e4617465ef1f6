// Softmax over a row whose scores arrive in blocks, for the two rows a thread
// holds of wgmma accumulators. In the exp2 domain: p = 2^(scale_log2 (s - m)).
#pragma once

#include <cmath>

#include "intarsia/cuda/ptx/exp2.cuh"
#include "intarsia/cuda/tile/rows.cuh"

namespace intarsia {

// kPolynomialEighths of every eight exponentials run on the FMA pipes.
// kLazy: keep the old maximum, and so leave the output unscaled, while the new
// one is less than 2^8 larger; the result is the same, since the output is
// divided by a sum that has the same reference (idea: FlashAttention-4).
template <int kPolynomialEighths, bool kLazy>
class OnlineSoftmax {
 public:
  __device__ __forceinline__ explicit OnlineSoftmax(float scale_log2)
      : scale_log2_(scale_log2) {}

  // Before the first block, where Next is to take that one too.
  __device__ __forceinline__ void Start() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      max_[r] = -INFINITY;
      sum_[r] = 0;
    }
  }

  // The first block: scores become probabilities relative to their maximum.
  template <int kCount>
  __device__ __forceinline__ void First(float (&s)[kCount]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      max_[r] = tile::QuadMax(tile::RowMax(s, r));
    }
    Exponentials(s);
#pragma unroll
    for (int r = 0; r < 2; ++r) sum_[r] = RowSum(s, r);
  }

  // A further block. Returns whether the output must be multiplied by scale(),
  // which is the same answer in all lanes of the warp.
  template <int kCount>
  __device__ __forceinline__ bool Next(float (&s)[kCount]) {
    bool rescale = true;
    float fresh[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      fresh[r] = fmaxf(max_[r], tile::QuadMax(tile::RowMax(s, r)));
    }
    if constexpr (kLazy) {
      // -inf - -inf is NaN and compares false: nothing to rescale.
      const bool grew = (fresh[0] - max_[0]) * scale_log2_ > 8.0f ||
                        (fresh[1] - max_[1]) * scale_log2_ > 8.0f;
      rescale = __any_sync(~0u, grew);
    }
    if (rescale) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        scale_[r] = ptx::Exp2((max_[r] - Finite(fresh[r])) * scale_log2_);
        max_[r] = fresh[r];
        sum_[r] *= scale_[r];
      }
    }
    Exponentials(s);
#pragma unroll
    for (int r = 0; r < 2; ++r) sum_[r] += RowSum(s, r);
    return rescale;
  }

  __device__ __forceinline__ float scale(int r) const { return scale_[r]; }

  // After the last block: 1 / sum and the natural log-sum-exp of row r; 0 and
  // -inf if the row saw no key.
  __device__ __forceinline__ void Finish(int r, float* inverse, float* lse) {
    const float sum = tile::QuadSum(sum_[r]);
    const bool empty = max_[r] == -INFINITY;
    *inverse = empty ? 0.0f : 1.0f / sum;
    *lse = empty ? -INFINITY
                 : (max_[r] * scale_log2_ + __log2f(sum)) * 0.69314718056f;
  }

 private:
  __device__ __forceinline__ static float Finite(float max) {
    return max == -INFINITY ? 0.0f : max;
  }

  template <int kCount>
  __device__ __forceinline__ void Exponentials(float (&s)[kCount]) {
    float offset[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) offset[r] = Finite(max_[r]) * scale_log2_;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float x = fmaf(s[i], scale_log2_, -offset[tile::RowOf(i)]);
      // Spread evenly: the two units work at the same time.
      s[i] = (i * kPolynomialEighths) % 8 < kPolynomialEighths
                 ? ptx::Exp2Polynomial<3>(x)
                 : ptx::Exp2(x);
    }
  }

  template <int kCount>
  __device__ __forceinline__ static float RowSum(const float (&s)[kCount],
                                                 int r) {
    float a = s[2 * r] + s[2 * r + 1];
    float b = s[4 + 2 * r] + s[4 + 2 * r + 1];
#pragma unroll
    for (int i = 8; i < kCount; i += 8) {
      a += s[i + 2 * r] + s[i + 2 * r + 1];
      b += s[i + 4 + 2 * r] + s[i + 4 + 2 * r + 1];
    }
    return a + b;
  }

  float scale_log2_;
  float max_[2], sum_[2], scale_[2];
};

}  // namespace intarsia
