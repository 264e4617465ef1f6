// Reductions along the rows of wgmma accumulators (layout: ptx/wgmma.cuh). A
// thread holds parts of two rows, r = 0, 1; the four threads of a quad share
// them.
#pragma once

namespace intarsia::tile {

__device__ __forceinline__ float QuadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ __forceinline__ float QuadSum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// The row of value i of an accumulator (0 or 1), and its column relative to
// the thread's first, 2 (lane % 4).
__device__ constexpr int RowOf(int i) { return (i >> 1) & 1; }
__device__ constexpr int ColumnOf(int i) { return (i >> 2) * 8 + (i & 1); }

// Largest value of row r in this thread's part.
template <int kCount>
__device__ __forceinline__ float RowMax(const float (&d)[kCount], int r) {
  float m0 = fmaxf(d[2 * r], d[2 * r + 1]);
  float m1 = fmaxf(d[4 + 2 * r], d[4 + 2 * r + 1]);
#pragma unroll
  for (int i = 8; i < kCount; i += 8) {
    m0 = fmaxf(m0, fmaxf(d[i + 2 * r], d[i + 2 * r + 1]));
    m1 = fmaxf(m1, fmaxf(d[i + 4 + 2 * r], d[i + 4 + 2 * r + 1]));
  }
  return fmaxf(m0, m1);
}

}  // namespace intarsia::tile
