// Reductions over a warp or a block. Every thread gets the result, and the
// order of the additions depends on the shape alone, so results repeat.
#pragma once

#include <cstdint>

namespace intarsia::cuda {

struct Sum {
  static constexpr float kIdentity = 0.0f;
  __device__ static float Apply(float a, float b) { return a + b; }
};
struct Max {
  static constexpr float kIdentity = -__builtin_huge_valf();
  __device__ static float Apply(float a, float b) { return fmaxf(a, b); }
};

// Over the kLanes lanes (a power of two) that share lane / kLanes.
template <typename Op, int kLanes = 32>
__device__ __forceinline__ float WarpReduce(float x) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    x = Op::Apply(x, __shfl_xor_sync(0xffffffffu, x, offset));
  }
  return x;
}

// Over the kThreads threads of a one-dimensional block. `scratch` holds
// kThreads / 32 floats of shared memory and may be used again only after
// another __syncthreads().
template <typename Op, int kThreads>
__device__ __forceinline__ float BlockReduce(float x, float* scratch) {
  constexpr int kWarps = kThreads / 32;
  static_assert(kThreads % 32 == 0 && kWarps <= 32);
  x = WarpReduce<Op>(x);
  if constexpr (kWarps == 1) return x;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float y = scratch[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) y = Op::Apply(y, scratch[w]);
  return y;
}

}  // namespace intarsia::cuda
