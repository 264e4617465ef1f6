// What the Hopper kernels of the SSD share: how packed sequences are cut in
// units, the decays of a chunk, and the way of its operands into registers.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "intarsia/cuda/ptx/address.cuh"
#include "intarsia/cuda/ptx/barrier.cuh"
#include "intarsia/cuda/ptx/exp2.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/swizzle.cuh"

namespace intarsia::sm90 {

inline constexpr int kSsdChunk = 64;    // tokens
inline constexpr int kSsdHeadDim = 64;  // P

// Sequences cut in units of so many tokens (a multiple of kSsdChunk). Unit
// `block` of sequence s has the number start(s) / tokens + s + block: numbers
// increase, need no table, and stay below SsdUnits; some belong to no unit.
struct SsdPacking {
  const int32_t* cu;  // or null: one sequence
  int sequences, tokens;

  __device__ __forceinline__ int Start(int s) const {
    return cu == nullptr ? s * tokens : cu[s];
  }
};

__host__ __device__ constexpr int SsdUnits(int tokens, int sequences,
                                           int unit) {
  return tokens / unit + sequences;
}

struct SsdUnit {
  int sequence, block;
  int start, rows;  // of the sequence
  bool exists;      // block 0 of an empty sequence does
};

__device__ __forceinline__ SsdUnit FindSsdUnit(const SsdPacking& packing,
                                               int unit, int number) {
  int low = 0, high = packing.sequences - 1;  // the last with base <= number
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (packing.Start(middle) / unit + middle <= number) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  SsdUnit u;
  u.sequence = low;
  u.start = packing.Start(low);
  u.rows = packing.Start(low + 1) - u.start;
  u.block = number - (u.start / unit + low);
  u.exists = u.block == 0 || u.block * int64_t{unit} < u.rows;
  return u;
}

// A value that all lanes of a warp share, in a way that ptxas knows: loops and
// descriptors that depend on it get by with uniform registers.
__device__ __forceinline__ int Uniform(int x) { return __shfl_sync(~0u, x, 0); }

// dt as it is stored, and what makes it the step of the recurrence.
struct SsdSteps {
  const float* dt;
  const float* a;
  const float* bias;  // or null
  int64_t stride;
  bool softplus;
  float low, high;
};

__device__ __forceinline__ float SsdSoftplus(float x) {
  return x > 20.0f ? x : log1pf(__expf(x));
}

// d of the token, from the stored value.
__device__ __forceinline__ float SsdStep(const SsdSteps& steps, float raw,
                                         float bias) {
  float d = raw + bias;
  if (steps.softplus) d = SsdSoftplus(d);
  return fminf(fmaxf(d, steps.low), steps.high);
}

// What all kernels are told of the problem.
struct SsdProblem {
  SsdPacking packing;
  SsdSteps steps;
  int heads, groups;
};

// The decays of one chunk and head. Sums count from the chunk's start and are
// in base 2; past the sequence's end a step is 0.
struct alignas(16) SsdDecay {
  float sum[kSsdChunk];     // c_i = sum over k <= i of d_k A log2(e)
  float source[kSsdChunk];  // c_j - log2(d_j): 2^(c_i - source_j) is the
                            // weight of source j in target i; inf for d_j = 0
  float grown[kSsdChunk];   // 2^c_i; the last is the chunk's whole decay
  __nv_bfloat16 left[kSsdChunk];  // 2^(c_last - c_j) d_j
};

// One warp computes them: lane l has tokens 2 l and 2 l + 1.
__device__ __forceinline__ float2 SsdLoadSteps(const SsdSteps& steps, int head,
                                               int row, int valid) {
  const int i = threadIdx.x % 32 * 2;
  const float* dt = steps.dt + (row + i) * steps.stride + head;
  return {i < valid ? dt[0] : 0.0f, i + 1 < valid ? dt[steps.stride] : 0.0f};
}

// A warp's queue of stored steps, loaded some turns before they are taken, so
// that the latency of device memory stays hidden. Chunks come in order, or in
// reverse order.
template <int kAhead>
class SsdStepQueue {
 public:
  // `rows` from `row` on, in chunks.
  __device__ __forceinline__ SsdStepQueue(const SsdSteps& steps, int head,
                                          int row, int rows, bool reverse)
      : steps_(steps), head_(head), row_(row), rows_(rows) {
    next_ = reverse ? (rows - 1) / kSsdChunk * kSsdChunk : 0;
    stride_ = reverse ? -kSsdChunk : kSsdChunk;
#pragma unroll
    for (float2& x : ahead_) x = Load();
  }
  __device__ __forceinline__ float2 Take() {
    const float2 first = ahead_[0];
#pragma unroll
    for (int i = 1; i < kAhead; ++i) ahead_[i - 1] = ahead_[i];
    ahead_[kAhead - 1] = Load();
    return first;
  }

 private:
  __device__ __forceinline__ float2 Load() {
    const int at = next_;
    next_ += stride_;
    if (at < 0) return {0, 0};
    return SsdLoadSteps(steps_, head_, row_ + at, rows_ - at);
  }

  const SsdSteps& steps_;
  const int head_, row_, rows_;
  int next_, stride_;
  float2 ahead_[kAhead];
};

// Inclusive sums over a warp's lanes.
__device__ __forceinline__ float WarpPrefixSum(float x) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const float other = __shfl_up_sync(~0u, x, step);
    if (threadIdx.x % 32 >= step) x += other;
  }
  return x;
}

// This lane's two tokens: steps d, sums c, and the chunk's last sum.
struct SsdSums {
  float d0, d1, c0, c1, last;
};

// `raw` from SsdLoadSteps, a_log2 = A log2(e).
__device__ __forceinline__ SsdSums SsdSumSteps(const SsdSteps& steps,
                                               float2 raw, int valid,
                                               float bias, float a_log2) {
  const int i = threadIdx.x % 32 * 2;
  SsdSums s;
  s.d0 = i < valid ? SsdStep(steps, raw.x, bias) : 0.0f;
  s.d1 = i + 1 < valid ? SsdStep(steps, raw.y, bias) : 0.0f;
  const float second = s.d1 * a_log2;
  s.c1 = WarpPrefixSum(fmaf(s.d0, a_log2, second));
  s.c0 = s.c1 - second;
  s.last = __shfl_sync(~0u, s.c1, 31);
  return s;
}

__device__ __forceinline__ void SsdStoreDecay(const SsdSums& s, SsdDecay* out) {
  const int lane = threadIdx.x % 32;
  reinterpret_cast<float2*>(out->sum)[lane] = {s.c0, s.c1};
  reinterpret_cast<float2*>(out->source)[lane] = {s.c0 - __log2f(s.d0),
                                                  s.c1 - __log2f(s.d1)};
  reinterpret_cast<float2*>(out->grown)[lane] = {ptx::Exp2(s.c0),
                                                 ptx::Exp2(s.c1)};
  reinterpret_cast<uint32_t*>(out->left)[lane] = ptx::PackBf16(
      ptx::Exp2(s.last - s.c0) * s.d0, ptx::Exp2(s.last - s.c1) * s.d1);
}

// A 64 x 64 tile of bf16 with tokens as rows: x, dy, y, and masked scores.
using SsdHeadTile = tile::PanelTile<kSsdChunk, kSsdHeadDim>;

// Where this lane's row for ldmatrix or stmatrix lies, transposed: the warp's
// 16 columns (16 warp ...) of rows 16 k ... of a tile. The fragment is that of
// the transposed tile: its rows are the columns here.
__device__ __forceinline__ uint32_t SsdTransposedRow(uint32_t base, int warp,
                                                     int k) {
  const int lane = threadIdx.x % 32;
  // Rows 16 further on are swizzled alike.
  return base + k * 16 * tile::kPanelRowBytes +
         SsdHeadTile::Chunk(lane / 16 * 8 + lane % 8, 2 * warp + lane / 8 % 2);
}

// Four fragments of the transposed tile: A of 64 x 64, this warp's 16 rows.
__device__ __forceinline__ void SsdLoadTransposed(uint32_t (&r)[16],
                                                  uint32_t base, int warp) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    uint32_t part[4];
    ptx::LoadMatrix4Transposed(part, SsdTransposedRow(base, warp, k));
#pragma unroll
    for (int i = 0; i < 4; ++i) r[4 * k + i] = part[i];
  }
}

__device__ __forceinline__ uint32_t MultiplyBf16x2(uint32_t a, uint32_t b) {
  uint32_t out;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
  return out;
}

// Multiplies column j of the fragments (a token) by weights[j].
__device__ __forceinline__ void SsdScaleColumns(const uint32_t (&from)[16],
                                                const __nv_bfloat16* weights,
                                                uint32_t (&to)[16]) {
  const uint32_t* pairs =
      reinterpret_cast<const uint32_t*>(weights) + threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint32_t low = pairs[8 * k], high = pairs[8 * k + 4];
    to[4 * k] = MultiplyBf16x2(from[4 * k], low);
    to[4 * k + 1] = MultiplyBf16x2(from[4 * k + 1], low);
    to[4 * k + 2] = MultiplyBf16x2(from[4 * k + 2], high);
    to[4 * k + 3] = MultiplyBf16x2(from[4 * k + 3], high);
  }
}

// Rows from `valid` on belong to somebody else and may hold NaN, which a
// weight of 0 would not silence. By 128 threads; a fence and a barrier follow.
// Warpgroups that share an operand of wgmma may all write its zeros, each
// before its own products.
template <class Tile>
__device__ __forceinline__ void SsdZeroRows(uint8_t* data, int valid) {
  constexpr int kChunks = Tile::kBytes / kSsdChunk / 16;
  for (int i = threadIdx.x % 128; i < (kSsdChunk - valid) * kChunks; i += 128) {
    *reinterpret_cast<uint4*>(data +
                              Tile::Chunk(valid + i / kChunks, i % kChunks)) =
        uint4{0, 0, 0, 0};
  }
}

// A state in the order of the accumulators: a thread's values of a warpgroup,
// four at a time, for states that only these kernels read.
template <int kCount>
__device__ __forceinline__ void SsdStoreFragments(const float (&state)[kCount],
                                                  float* to) {
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    reinterpret_cast<float4*>(to)[i * 128 + threadIdx.x % 128] = {
        state[4 * i], state[4 * i + 1], state[4 * i + 2], state[4 * i + 3]};
  }
}

// state = state * decay + from.
template <int kCount>
__device__ __forceinline__ void SsdAddFragments(float (&state)[kCount],
                                                float decay,
                                                const float* from) {
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    const float4 x =
        reinterpret_cast<const float4*>(from)[i * 128 + threadIdx.x % 128];
    state[4 * i] = fmaf(state[4 * i], decay, x.x);
    state[4 * i + 1] = fmaf(state[4 * i + 1], decay, x.y);
    state[4 * i + 2] = fmaf(state[4 * i + 2], decay, x.z);
    state[4 * i + 3] = fmaf(state[4 * i + 3], decay, x.w);
  }
}

// Row-major [P, N] fp32: the caller's states.
template <int kCount>
__device__ __forceinline__ float2* SsdStateElement(float* state, int i) {
  const int thread = threadIdx.x % 128;
  const int row = thread / 32 * 16 + thread % 32 / 4 + (i & 2) * 4;
  return reinterpret_cast<float2*>(state + row * 2 * kCount + (i >> 2) * 8 +
                                   2 * (thread % 4));
}
template <int kCount>
__device__ __forceinline__ void SsdLoadState(float (&state)[kCount],
                                             const float* from) {
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const float2 x = *SsdStateElement<kCount>(const_cast<float*>(from), i);
    state[i] = x.x;
    state[i + 1] = x.y;
  }
}
template <int kCount>
__device__ __forceinline__ void SsdStoreState(const float (&state)[kCount],
                                              float* to) {
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    *SsdStateElement<kCount>(to, i) = {state[i], state[i + 1]};
  }
}

}  // namespace intarsia::sm90
