// What the kernels behind sm90_selective_scan_backward.h share: the chunks
// that time is cut into, their workspace, and a chunk's operands in shared
// memory.
#pragma once

#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/mamba/sm90_selective_scan_backward.h"

namespace intarsia::sm90 {

using ScanBackwardArgs = Sm90SelectiveScanBackwardArgs;

constexpr int kChunk = 64;  // tokens; a chunk lies in one sequence
constexpr int kStates = 16;
constexpr int kColumn = 64;  // channels of a block
constexpr int kScanThreads = 256;
constexpr int kBlockPairs = kColumn / 2;
// Pairs of channels of a chunk that a thread stages, and later finishes.
constexpr int kThreadPairs = kChunk * kBlockPairs / kScanThreads;

// The chunks of sequence s have slots from FirstSlot on; gaps may remain.
__host__ __device__ inline int FirstSlot(int start, int sequence) {
  return start / kChunk + sequence;
}
__host__ __device__ inline int SlotCount(int tokens, int sequences) {
  return FirstSlot(tokens, sequences);
}

struct ScanWorkspace {
  // [slots, channels, kStates]. First the state after a chunk that starts from
  // zero, then the state it really starts from, then its part of dA.
  float* state;
  // First the gradient of the state a chunk starts from, of its own tokens
  // alone; then the gradient of the state it leaves.
  float* gradient;
  float* step_sum;  // [slots, channels]: sum of d
  float* dd;        // [slots, channels]: its parts of dD
  float* ddt_bias;  // [slots, channels]
  float* bc;        // [columns, tokens, 2, kStates]: parts of dB and dC
};

struct ScanChunk {
  int slot;
  int channel0;
  int sequence;
  int begin;  // rows; begin >= end: a gap
  int end;
};

// Block number -> column of channels and slot.
__device__ __forceinline__ ScanChunk LocateChunk(const ScanBackwardArgs& a,
                                                 int block) {
  const int columns = (a.channels + kColumn - 1) / kColumn;
  ScanChunk chunk;
  chunk.slot = block / columns;
  chunk.channel0 = block % columns * kColumn;
  int low = 0, high = a.sequences - 1;
  if (a.cu_seqlens == nullptr) high = 0;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (FirstSlot(a.cu_seqlens[middle], middle) <= chunk.slot) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int first = a.cu_seqlens == nullptr ? 0 : a.cu_seqlens[low];
  const int last = a.cu_seqlens == nullptr ? a.tokens : a.cu_seqlens[low + 1];
  chunk.sequence = low;
  chunk.begin = first + (chunk.slot - FirstSlot(first, low)) * kChunk;
  chunk.end = min(chunk.begin + kChunk, last);
  return chunk;
}

// A sequence's last chunk, and the one before a chunk; begin >= end where there
// is none.
__device__ __forceinline__ ScanChunk LastChunk(const ScanBackwardArgs& a,
                                               int column, int sequence) {
  const bool packed = a.cu_seqlens != nullptr;
  const int first = packed ? a.cu_seqlens[sequence] : 0;
  const int last = packed ? a.cu_seqlens[sequence + 1] : a.tokens;
  const int before = last > first ? (last - first - 1) / kChunk : 0;
  return {FirstSlot(first, sequence) + before, column * kColumn, sequence,
          first + before * kChunk, last};
}
__device__ __forceinline__ ScanChunk ChunkBefore(const ScanBackwardArgs& a,
                                                 const ScanChunk& chunk) {
  const int first = a.cu_seqlens == nullptr ? 0 : a.cu_seqlens[chunk.sequence];
  ScanChunk before = chunk;
  --before.slot;
  before.begin -= kChunk;
  before.end = before.begin < first ? before.begin : chunk.begin;
  return before;
}

// Rows past the end have d = dx = dy = B = C = 0, which changes no state, no
// gradient and no sum.
struct ChunkTile {
  // d, d x; later sum_n g B, sum_n g A e h. Padded so that four rows of eight
  // channels lie in different banks.
  float2 step[kChunk][kColumn + 4];
  float dy[kChunk][kColumn + 8];  // later y without D x
  alignas(16) float b[kChunk][kStates];
  alignas(16) float c[kChunk][kStates];
};

__device__ __forceinline__ uint32_t LoadPair(const __nv_bfloat16* p) {
  return *reinterpret_cast<const uint32_t*>(p);
}
__device__ __forceinline__ void StorePair(__nv_bfloat16* p, float2 x) {
  *reinterpret_cast<uint32_t*>(p) = cuda::PackBf16(x.x, x.y);
}
__device__ __forceinline__ float2 Unpack(uint32_t pair) {
  return make_float2(cuda::LowBf16(pair), cuda::HighBf16(pair));
}
// A per-channel vector at a pair of channels; zero if absent.
__device__ __forceinline__ float2 ChannelPair(const float* from, int channel,
                                              int channels) {
  if (from == nullptr || channel >= channels) return make_float2(0.0f, 0.0f);
  return make_float2(from[channel], from[channel + 1]);
}

__device__ __forceinline__ float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float Sigmoid(float x) {
  return Reciprocal(1.0f + cuda::FastExp2(-cuda::kLog2E * x));
}

// softplus(x), the identity above 20, and its derivative.
struct StepSize {
  float d;
  float slope;

  __device__ __forceinline__ StepSize(float x, bool softplus) {
    const float e = cuda::FastExp2(cuda::kLog2E * fminf(x, 80.0f));
    const float log = cuda::kLn2 * cuda::FastLog2(1.0f + e);
    // Below 2^-12 the logarithm of 1 + e loses e; its series does not.
    d = e < 2.44e-4f ? fmaf(-0.5f * e, e, e) : log;
    d = x > 20.0f || !softplus ? x : d;
    slope = softplus ? e * Reciprocal(1.0f + e) : 1.0f;
  }
};

// This thread's i-th pair: its token, and (for all i) its channel.
__device__ __forceinline__ int PairToken(int i) {
  return threadIdx.x / kBlockPairs + i * (kScanThreads / kBlockPairs);
}
__device__ __forceinline__ int PairColumn() {
  return threadIdx.x % kBlockPairs * 2;
}

// The first of this thread's pairs in an array of this row stride, and the
// distance to the next; its i-th is inside the chunk if i < PairCount.
__device__ __forceinline__ int64_t FirstPair(const ScanChunk& chunk,
                                             int64_t stride) {
  return (chunk.begin + PairToken(0)) * stride + chunk.channel0 + PairColumn();
}
constexpr int kPairRows = kScanThreads / kBlockPairs;
__device__ __forceinline__ int PairCount(const ScanBackwardArgs& a,
                                         const ScanChunk& chunk) {
  if (chunk.channel0 + PairColumn() >= a.channels) return 0;
  return (chunk.end - chunk.begin - PairToken(0) + kPairRows - 1) / kPairRows;
}
// All pairs of the block are inside: nothing need be asked of each.
__device__ __forceinline__ bool IsFull(const ScanBackwardArgs& a,
                                       const ScanChunk& chunk) {
  return chunk.end - chunk.begin == kChunk &&
         chunk.channel0 + kColumn <= a.channels;
}

// This thread's pairs of all inputs.
struct Pairs {
  uint32_t x[kThreadPairs];
  uint32_t dt[kThreadPairs];
  uint32_t dout[kThreadPairs];
  uint32_t z[kThreadPairs];

  // Those of x and dt alone, or all.
  template <bool kFull, bool kAll>
  __device__ __forceinline__ void Load(const ScanBackwardArgs& a,
                                       const ScanChunk& chunk) {
    const int count = kFull ? kThreadPairs : PairCount(a, chunk);
    Load(dt, a.dt, a.dt_stride, chunk, count);
    Load(x, a.x, a.x_stride, chunk, count);
    if constexpr (!kAll) return;
    Load(dout, a.dout, a.dout_stride, chunk, count);
    Load(z, a.z, a.z_stride, chunk, a.z != nullptr ? count : 0);
  }

 private:
  __device__ __forceinline__ static void Load(uint32_t (&to)[kThreadPairs],
                                              const __nv_bfloat16* from,
                                              int64_t stride,
                                              const ScanChunk& chunk,
                                              int count) {
    from += FirstPair(chunk, stride);
    if (count == kThreadPairs) {
#pragma unroll
      for (int i = 0; i < kThreadPairs; ++i, from += kPairRows * stride) {
        to[i] = LoadPair(from);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < kThreadPairs; ++i, from += kPairRows * stride) {
      to[i] = i < count ? LoadPair(from) : 0;
    }
  }
};

// b and c as floats: eight values a thread, half of the block for each.
__device__ __forceinline__ void StageStates(const ScanBackwardArgs& a,
                                            const ScanChunk& chunk,
                                            ChunkTile& tile) {
  constexpr int kVecs = kChunk * kStates / 8;
  static_assert(2 * kVecs == kScanThreads);
  const bool is_c = threadIdx.x >= kVecs;
  const int row = threadIdx.x % kVecs / 2, n = threadIdx.x % 2 * 8;
  const int64_t t = chunk.begin + row;
  cuda::Vec16 v = {{0, 0, 0, 0}};
  if (t < chunk.end) {
    v = cuda::LoadVec(is_c ? a.c + t * a.c_stride + n
                           : a.b + t * a.b_stride + n);
  }
  float4* to =
      reinterpret_cast<float4*>(is_c ? &tile.c[row][n] : &tile.b[row][n]);
  float values[8];
  cuda::Unpack8(v, values);
  to[0] = make_float4(values[0], values[1], values[2], values[3]);
  to[1] = make_float4(values[4], values[5], values[6], values[7]);
}

// Fills the tile (without kAll: step and b); the caller synchronises. Returns
// this thread's sum of d.
template <bool kFull, bool kAll>
__device__ __forceinline__ float2 StageChunk(const ScanBackwardArgs& a,
                                             const ScanChunk& chunk,
                                             ChunkTile& tile) {
  const float2 bias =
      ChannelPair(a.dt_bias, chunk.channel0 + PairColumn(), a.channels);
  const int count = kFull ? kThreadPairs : PairCount(a, chunk);
  const bool gated = a.z != nullptr;
  Pairs pairs;
  pairs.Load<kFull, kAll>(a, chunk);
  StageStates(a, chunk, tile);
  float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll
  for (int i = 0; i < kThreadPairs; ++i) {
    const int row = PairToken(i);
    const float2 dt = Unpack(pairs.dt[i]), x = Unpack(pairs.x[i]);
    float2 d = make_float2(StepSize(dt.x + bias.x, a.softplus).d,
                           StepSize(dt.y + bias.y, a.softplus).d);
    if (i >= count) d = make_float2(0.0f, 0.0f);
    sum.x += d.x;
    sum.y += d.y;
    *reinterpret_cast<float4*>(&tile.step[row][PairColumn()]) =
        make_float4(d.x, d.x * x.x, d.y, d.y * x.y);
    if constexpr (!kAll) continue;
    float2 dy = Unpack(pairs.dout[i]);
    if (gated) {
      const float2 z = Unpack(pairs.z[i]);
      dy.x *= z.x * Sigmoid(z.x);
      dy.y *= z.y * Sigmoid(z.y);
    }
    *reinterpret_cast<float2*>(&tile.dy[row][PairColumn()]) = dy;
  }
  return sum;
}
template <bool kAll>
__device__ __forceinline__ float2 StageChunk(const ScanBackwardArgs& a,
                                             const ScanChunk& chunk,
                                             ChunkTile& tile) {
  return IsFull(a, chunk) ? StageChunk<true, kAll>(a, chunk, tile)
                          : StageChunk<false, kAll>(a, chunk, tile);
}

// Sums `x` over the threads that share a pair of channels, by way of
// `scratch` (one float2 a thread), and stores it at the pair's channels.
// Synchronises the block before and after.
__device__ __forceinline__ void StoreColumnSum(float2 x, float2* scratch,
                                               const ScanBackwardArgs& a,
                                               int channel0, int slot,
                                               float* to) {
  scratch[threadIdx.x] = x;
  __syncthreads();
  const int channel = channel0 + 2 * threadIdx.x;
  if (threadIdx.x < kBlockPairs && channel < a.channels) {
    for (int i = 1; i < kScanThreads / kBlockPairs; ++i) {
      const float2 y = scratch[threadIdx.x + i * kBlockPairs];
      x.x += y.x;
      x.y += y.y;
    }
    to += int64_t{slot} * a.channels + channel;
    to[0] = x.x;
    to[1] = x.y;
  }
  __syncthreads();
}

}  // namespace intarsia::sm90
