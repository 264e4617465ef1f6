// What bounds it: the bytes of the keys and values. So nothing is staged: each
// warp takes tiles of 16 keys from global memory straight into the registers
// that the matrix units read, and a dozen warps per multiprocessor keep enough
// loads in flight.
//
// The scores are computed transposed, S^T = K Q^T with mma.m16n8k16, so that
// keys fill the 16 rows and a group of up to 8 query heads the 8 columns. Two
// freedoms make 16-byte loads fit the fragments without a shuffle:
//  - the sum over the head dimension may run in any order, so a thread's eight
//    consecutive channels of a key serve as its channels of two k-steps;
//  - the rows of O^T = V^T P^T may be numbered in any way, so the eight
//    consecutive channels of a value become rows of four m-tiles. Pairs along
//    the keys, which the instruction wants, come from one byte permutation.
// P^T reaches its operand layout by transposing 8x8 blocks (movmatrix).
//
// The running maximum is raised only when some score passes it by more than
// 2^8: until then exp2(s - m) stays in range and no reduction over the warp or
// rescaling is needed. The result is exact either way.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/reduce.cuh"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/attention/sm90_paged_decode.h"

namespace intarsia {
namespace {

using cuda::CeilDiv;
using cuda::FastExp2;
using cuda::LoadVecStream;
using cuda::Vec16;

constexpr int kTileKeys = 16;
constexpr int kWarps = 4;
constexpr int kDefaultSplitChannels = 1 << 17;  // keys x head dimension
constexpr int kMaxSplits = 8192;  // the weights of one row in shared memory
constexpr float kMaximumSlack = 8.0f;  // in powers of two

struct Params {
  Sm90PagedDecodeArgs a;
  float scale_log2;
  int page_shift;
  int max_splits;
  float* partial_out;      // [batch, query_heads, max_splits, head_dim]
  float2* partial_weight;  // [batch, query_heads, max_splits]: max, sum
};

__device__ __forceinline__ void Mma(float (&c)[4], uint32_t a0, uint32_t a1,
                                    uint32_t a2, uint32_t a3, uint32_t b0,
                                    uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t Transpose8x8(uint32_t x) {
  uint32_t y;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// One warp's share of a split: running maximum, sum and output of its queries.
// A thread (g = lane / 4, t = lane % 4) holds queries 2t and 2t + 1 of each
// tile of eight, and in `out` the channels 64 h + 8 g + {2c, 2c + 1}.
template <int kHeadDim, int kQueryTiles>
struct WarpState {
  float max[kQueryTiles][2];
  float sum[kQueryTiles][2];
  float out[kQueryTiles][kHeadDim / 64][4][4];
};

template <int kHeadDim>
struct KeyTile {
  Vec16 row[2][kHeadDim / 32];  // keys g, g + 8; channels 32 j + 8 t ...
};

template <int kHeadDim>
struct ValueTile {
  Vec16 row[4][kHeadDim / 64];  // keys 2t, 2t+1, 2t+8, 2t+9; 64 h + 8 g ...
};

// Rows past `last` repeat it: their scores are masked, and what lies there in
// memory may be anything, NaN included.
template <int kHeadDim>
__device__ __forceinline__ void LoadKeys(KeyTile<kHeadDim>& tile,
                                         const __nv_bfloat16* base, int stride,
                                         int last, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int key = min(lane / 4 + 8 * r, last);
    const __nv_bfloat16* p =
        base + static_cast<int64_t>(key) * stride + lane % 4 * 8;
#pragma unroll
    for (int j = 0; j < kHeadDim / 32; ++j) {
      tile.row[r][j] = LoadVecStream(p + 32 * j);
    }
  }
}

template <int kHeadDim>
__device__ __forceinline__ void LoadValues(ValueTile<kHeadDim>& tile,
                                           const __nv_bfloat16* base,
                                           int stride, int last, int lane) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int key = min(lane % 4 * 2 + (r & 1) + (r >> 1) * 8, last);
    const __nv_bfloat16* p =
        base + static_cast<int64_t>(key) * stride + lane / 4 * 8;
#pragma unroll
    for (int h = 0; h < kHeadDim / 64; ++h) {
      tile.row[r][h] = LoadVecStream(p + 64 * h);
    }
  }
}

template <int kHeadDim, int kQueryTiles>
__device__ __forceinline__ void Scores(
    float (&s)[kQueryTiles][4], const KeyTile<kHeadDim>& keys,
    const Vec16 (&q)[kQueryTiles][kHeadDim / 32]) {
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0.0f;
#pragma unroll
    for (int j = 0; j < kHeadDim / 32; ++j) {
      const Vec16& k0 = keys.row[0][j];
      const Vec16& k1 = keys.row[1][j];
      Mma(s[n], k0.word[0], k1.word[0], k0.word[1], k1.word[1], q[n][j].word[0],
          q[n][j].word[1]);
      Mma(s[n], k0.word[2], k1.word[2], k0.word[3], k1.word[3], q[n][j].word[2],
          q[n][j].word[3]);
    }
  }
}

// Raises the running maximum to that of the tile and rescales what was summed.
template <int kHeadDim, int kQueryTiles>
__device__ __forceinline__ void Rescale(WarpState<kHeadDim, kQueryTiles>& state,
                                        const float (&s)[kQueryTiles][4]) {
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float m = fmaxf(s[n][i], s[n][i + 2]);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, offset));
      }
      m = fmaxf(m, state.max[n][i]);
      const float factor = FastExp2(state.max[n][i] - m);
      state.max[n][i] = m;
      state.sum[n][i] *= factor;
#pragma unroll
      for (int h = 0; h < kHeadDim / 64; ++h) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          state.out[n][h][c][i] *= factor;
          state.out[n][h][c][i + 2] *= factor;
        }
      }
    }
  }
}

// Turns scores into weights p = exp2(s - max), adds them to the sums, and
// returns them as the operand of the second product.
template <int kHeadDim, int kQueryTiles>
__device__ __forceinline__ void Softmax(WarpState<kHeadDim, kQueryTiles>& state,
                                        float (&s)[kQueryTiles][4],
                                        uint32_t (&p)[kQueryTiles][2],
                                        float scale_log2, int first, int last,
                                        int lane) {
  const bool valid0 = lane / 4 >= first && lane / 4 <= last;
  const bool valid1 = lane / 4 + 8 >= first && lane / 4 + 8 <= last;
  bool raise = false;
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool valid = i < 2 ? valid0 : valid1;
      s[n][i] = valid ? s[n][i] * scale_log2 : -INFINITY;
      raise |= s[n][i] > state.max[n][i % 2] + kMaximumSlack;
    }
  }
  if (__any_sync(0xffffffffu, raise)) Rescale(state, s);
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      s[n][i] = FastExp2(s[n][i] - state.max[n][i % 2]);
    }
    state.sum[n][0] += s[n][0] + s[n][2];
    state.sum[n][1] += s[n][1] + s[n][3];
    p[n][0] = Transpose8x8(cuda::PackBf16(s[n][0], s[n][1]));
    p[n][1] = Transpose8x8(cuda::PackBf16(s[n][2], s[n][3]));
  }
}

template <int kHeadDim, int kQueryTiles>
__device__ __forceinline__ void AddValues(
    WarpState<kHeadDim, kQueryTiles>& state, const ValueTile<kHeadDim>& values,
    const uint32_t (&p)[kQueryTiles][2]) {
#pragma unroll
  for (int h = 0; h < kHeadDim / 64; ++h) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const uint32_t v0 = values.row[0][h].word[c];
      const uint32_t v1 = values.row[1][h].word[c];
      const uint32_t v2 = values.row[2][h].word[c];
      const uint32_t v3 = values.row[3][h].word[c];
      const uint32_t a0 = __byte_perm(v0, v1, 0x5410);  // both low halves
      const uint32_t a1 = __byte_perm(v0, v1, 0x7632);
      const uint32_t a2 = __byte_perm(v2, v3, 0x5410);
      const uint32_t a3 = __byte_perm(v2, v3, 0x7632);
#pragma unroll
      for (int n = 0; n < kQueryTiles; ++n) {
        Mma(state.out[n][h][c], a0, a1, a2, a3, p[n][0], p[n][1]);
      }
    }
  }
}

// Walks over the tiles [tile, tile_end) of this warp. The loads of the next
// keys are issued as soon as the scores are done with this tile's, likewise
// the values: one tile of either is always in flight.
template <int kHeadDim, int kQueryTiles>
__device__ __forceinline__ void WalkTiles(
    WarpState<kHeadDim, kQueryTiles>& state, const Params& p,
    const Vec16 (&q)[kQueryTiles][kHeadDim / 32], int tile, int begin, int end,
    int lane) {
  const Sm90PagedDecodeArgs& a = p.a;
  const int32_t* pages =
      a.page_table + static_cast<int64_t>(a.slots != nullptr
                                              ? a.slots[blockIdx.z]
                                              : blockIdx.z) *
                         a.page_table_stride;
  const int64_t head_offset = blockIdx.x * a.head_stride;
  const int stride = static_cast<int>(a.token_stride);
  const int tile_end = (end + kTileKeys - 1) / kTileKeys;
  auto page_of = [&](int i) {
    return i < tile_end ? __ldg(pages + (i * kTileKeys >> p.page_shift)) : 0;
  };
  auto offset_of = [&](int i, int page) {
    const int token = i * kTileKeys & (a.page_size - 1);
    return page * a.page_stride + token * a.token_stride + head_offset;
  };
  if (tile >= tile_end) return;

  KeyTile<kHeadDim> keys;
  ValueTile<kHeadDim> values;
  int64_t offset = offset_of(tile, page_of(tile));
  int next_page = page_of(tile + kWarps);
  int last = end - 1 - tile * kTileKeys;
  LoadKeys(keys, a.key_pages + offset, stride, last, lane);
  LoadValues(values, a.value_pages + offset, stride, last, lane);
  while (true) {
    const int next = tile + kWarps;
    const bool more = next < tile_end;
    const int next_last = end - 1 - next * kTileKeys;
    offset = offset_of(next, next_page);
    next_page = page_of(next + kWarps);

    float s[kQueryTiles][4];
    uint32_t weights[kQueryTiles][2];
    Scores(s, keys, q);
    if (more) LoadKeys(keys, a.key_pages + offset, stride, next_last, lane);
    Softmax(state, s, weights, p.scale_log2, begin - tile * kTileKeys, last,
            lane);
    AddValues(state, values, weights);
    if (!more) break;
    LoadValues(values, a.value_pages + offset, stride, next_last, lane);
    tile = next;
    last = next_last;
  }
}

// Merges the warps of the block and writes either the result or, when the
// sequence is split over blocks, its sums.
template <int kHeadDim, int kQueryTiles>
__device__ __forceinline__ void MergeWarps(
    WarpState<kHeadDim, kQueryTiles>& state, const Params& p, int lane,
    int warp) {
  constexpr int kQueries = 8 * kQueryTiles;
  constexpr int kPitch = kHeadDim + 4;
  __shared__ float warp_max[kWarps][kQueries];
  __shared__ float warp_sum[kWarps][kQueries];
  __shared__ float warp_out[kWarps][kQueries][kPitch];
  const int g = lane / 4;
  const int t = lane % 4;
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = 8 * n + 2 * t + i;
      float sum = state.sum[n][i];
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
      }
      if (g == 0) {
        warp_max[warp][query] = state.max[n][i];
        warp_sum[warp][query] = sum;
      }
#pragma unroll
      for (int h = 0; h < kHeadDim / 64; ++h) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float* row = warp_out[warp][query] + 64 * h + 8 * g + 2 * c;
          row[0] = state.out[n][h][c][i];
          row[1] = state.out[n][h][c][i + 2];
        }
      }
    }
  }
  __syncthreads();

  const Sm90PagedDecodeArgs& a = p.a;
  const int group = a.query_heads / a.kv_heads;
  for (int i = threadIdx.x; i < group * kHeadDim; i += 32 * kWarps) {
    const int query = i / kHeadDim;
    const int channel = i % kHeadDim;
    float max = warp_max[0][query];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) max = fmaxf(max, warp_max[w][query]);
    float sum = 0.0f;
    float out = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float factor = FastExp2(warp_max[w][query] - max);
      sum += factor * warp_sum[w][query];
      out += factor * warp_out[w][query][channel];
    }
    const int64_t row = static_cast<int64_t>(blockIdx.z) * a.query_heads +
                        blockIdx.x * group + query;
    if (p.max_splits == 1) {
      a.out[row * kHeadDim + channel] = __float2bfloat16(out * (1.0f / sum));
      if (a.lse != nullptr && channel == 0) {
        a.lse[row] = cuda::kLn2 * (max + log2f(sum));
      }
    } else {
      const int64_t slot = row * p.max_splits + blockIdx.y;
      p.partial_out[slot * kHeadDim + channel] = out;
      if (channel == 0) p.partial_weight[slot] = make_float2(max, sum);
    }
  }
}

__device__ __forceinline__ int FirstKey(const Sm90PagedDecodeArgs& a,
                                        int length) {
  return a.window > 0 ? max(0, length - a.window) : 0;
}

// grid (kv_heads, max_splits, batch): neighbours in launch order read the
// heads of the same tokens, which share DRAM pages.
template <int kHeadDim, int kQueryTiles>
__global__ void __launch_bounds__(32 * kWarps)
    PagedDecodeKernel(const __grid_constant__ Params p) {
  const Sm90PagedDecodeArgs& a = p.a;
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int group = a.query_heads / a.kv_heads;
  const int64_t row0 =
      static_cast<int64_t>(blockIdx.z) * a.query_heads + blockIdx.x * group;
  const int length = a.kv_lengths[blockIdx.z];
  const int split_begin = blockIdx.y * a.keys_per_split;
  const int begin = max(FirstKey(a, length), split_begin);
  const int end = min(length, split_begin + a.keys_per_split);
  if (begin >= end) {
    if (p.max_splits > 1) return;  // the combining kernel skips it too
    for (int i = threadIdx.x; i < group * kHeadDim; i += 32 * kWarps) {
      a.out[row0 * kHeadDim + i] = __float2bfloat16(0.0f);
    }
    if (a.lse != nullptr && threadIdx.x < group) {
      a.lse[row0 + threadIdx.x] = -INFINITY;
    }
    return;
  }

  Vec16 q[kQueryTiles][kHeadDim / 32];
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
    const int query = 8 * n + lane / 4;
#pragma unroll
    for (int j = 0; j < kHeadDim / 32; ++j) {
      q[n][j] = Vec16{{0, 0, 0, 0}};
      if (query < group) {
        q[n][j] = LoadVecStream(a.q + (row0 + query) * kHeadDim + 32 * j +
                                lane % 4 * 8);
      }
    }
  }
  WarpState<kHeadDim, kQueryTiles> state;
#pragma unroll
  for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      state.max[n][i] = -INFINITY;
      state.sum[n][i] = 0.0f;
    }
#pragma unroll
    for (int h = 0; h < kHeadDim / 64; ++h) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) state.out[n][h][c][i] = 0.0f;
      }
    }
  }
  WalkTiles(state, p, q, begin / kTileKeys + warp, begin, end, lane);
  MergeWarps(state, p, lane, warp);
}

// Merges the splits of one query head; grid (query_heads, batch). Starts while
// the last blocks of the first kernel still run.
template <int kHeadDim>
__global__ void __launch_bounds__(256)
    CombineSplitsKernel(const __grid_constant__ Params p) {
  constexpr int kLanes = kHeadDim / 4;   // threads of one partial row
  constexpr int kGroups = 256 / kLanes;  // rows read together
  extern __shared__ float factor[];      // [splits]
  __shared__ float scratch[2][8];
  __shared__ float4 group_out[kGroups][kLanes];
  const Sm90PagedDecodeArgs& a = p.a;
  const int64_t row =
      static_cast<int64_t>(blockIdx.y) * a.query_heads + blockIdx.x;
  const int length = a.kv_lengths[blockIdx.y];
  const int first = FirstKey(a, length) / a.keys_per_split;
  const int splits =
      length == 0 ? 0 : (length - 1) / a.keys_per_split + 1 - first;
  const int64_t slot0 = row * p.max_splits + first;
  cudaGridDependencySynchronize();

  float max = -INFINITY;
  for (int i = threadIdx.x; i < splits; i += 256) {
    max = fmaxf(max, p.partial_weight[slot0 + i].x);
  }
  max = cuda::BlockReduce<cuda::Max, 256>(max, scratch[0]);
  float sum = 0.0f;
  for (int i = threadIdx.x; i < splits; i += 256) {
    const float2 weight = p.partial_weight[slot0 + i];
    factor[i] = FastExp2(weight.x - max);
    sum += factor[i] * weight.y;
  }
  sum = cuda::BlockReduce<cuda::Sum, 256>(sum, scratch[1]);

  const int lane = threadIdx.x % kLanes;
  const int group = threadIdx.x / kLanes;
  const float* partial = p.partial_out + slot0 * kHeadDim + 4 * lane;
  float4 out = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
  for (int i = group; i < splits; i += kGroups) {
    const float4 x =
        *reinterpret_cast<const float4*>(partial + int64_t{i} * kHeadDim);
    out.x += factor[i] * x.x;
    out.y += factor[i] * x.y;
    out.z += factor[i] * x.z;
    out.w += factor[i] * x.w;
  }
  group_out[group][lane] = out;
  __syncthreads();
  if (group != 0) return;
  for (int i = 1; i < kGroups; ++i) {
    const float4 x = group_out[i][lane];
    out.x += x.x;
    out.y += x.y;
    out.z += x.z;
    out.w += x.w;
  }
  const float inverse = splits == 0 ? 0.0f : 1.0f / sum;
  uint2 packed;
  packed.x = cuda::PackBf16(out.x * inverse, out.y * inverse);
  packed.y = cuda::PackBf16(out.z * inverse, out.w * inverse);
  *reinterpret_cast<uint2*>(a.out + row * kHeadDim + 4 * lane) = packed;
  if (a.lse != nullptr && lane == 0) {
    a.lse[row] = splits == 0 ? -INFINITY : cuda::kLn2 * (max + log2f(sum));
  }
}

bool IsPowerOfTwo(int x) { return x > 0 && (x & (x - 1)) == 0; }

bool IsValid(const Sm90PagedDecodeArgs& a) {
  return a.batch >= 0 && a.batch <= 65535 && a.kv_heads > 0 &&
         a.query_heads > 0 && a.query_heads % a.kv_heads == 0 &&
         a.query_heads / a.kv_heads <= 16 &&
         (a.head_dim == 64 || a.head_dim == 128) && IsPowerOfTwo(a.page_size) &&
         a.page_size >= kTileKeys && a.page_stride % 8 == 0 &&
         a.token_stride % 8 == 0 && a.token_stride <= INT32_MAX &&
         a.head_stride % 8 == 0 && a.window >= 0 && a.max_length >= 0 &&
         a.keys_per_split >= 0 && a.keys_per_split % kTileKeys == 0 &&
         cuda::IsAligned16(a.q) && cuda::IsAligned16(a.key_pages) &&
         cuda::IsAligned16(a.value_pages) && cuda::IsAligned16(a.out) &&
         cuda::IsAligned16(a.workspace);
}

int KeysPerSplit(const Sm90PagedDecodeArgs& a) {
  return a.keys_per_split > 0 ? a.keys_per_split
                              : kDefaultSplitChannels / a.head_dim;
}

int MaxSplits(const Sm90PagedDecodeArgs& a) {
  return static_cast<int>(
      CeilDiv(a.max_length < 1 ? 1 : a.max_length, KeysPerSplit(a)));
}

template <int kHeadDim>
cudaError_t LaunchHeadDim(const Params& p, cudaStream_t stream) {
  const Sm90PagedDecodeArgs& a = p.a;
  const cuda::LaunchShape main = {
      .grid = dim3(a.kv_heads, p.max_splits, a.batch),
      .block = dim3(32 * kWarps),
      .overlap_previous = true,
      .stream = stream};
  INTARSIA_RETURN_IF_CUDA_ERROR(
      a.query_heads / a.kv_heads <= 8
          ? cuda::Launch(PagedDecodeKernel<kHeadDim, 1>, main, p)
          : cuda::Launch(PagedDecodeKernel<kHeadDim, 2>, main, p));
  if (p.max_splits == 1) return cudaSuccess;
  const cuda::LaunchShape combine = {
      .grid = dim3(a.query_heads, a.batch),
      .block = dim3(256),
      .shared_bytes = p.max_splits * sizeof(float),
      .overlap_previous = true,
      .stream = stream};
  return cuda::Launch(CombineSplitsKernel<kHeadDim>, combine, p);
}

}  // namespace

size_t Sm90PagedDecodeWorkspaceBytes(const Sm90PagedDecodeArgs& args) {
  const size_t splits = MaxSplits(args);
  if (splits == 1) return 0;
  return splits * args.batch * args.query_heads *
         (args.head_dim * sizeof(float) + sizeof(float2));
}

cudaError_t LaunchSm90PagedDecode(const Sm90PagedDecodeArgs& args,
                                  cudaStream_t stream) {
  if (!IsValid(args)) return cudaErrorInvalidValue;
  Params p;
  p.a = args;
  p.a.keys_per_split = KeysPerSplit(args);
  p.scale_log2 = args.scale * cuda::kLog2E;
  p.page_shift = __builtin_ctz(args.page_size);
  p.max_splits = MaxSplits(args);
  if (p.max_splits > kMaxSplits) return cudaErrorInvalidValue;
  if (p.max_splits > 1 && args.workspace == nullptr) {
    return cudaErrorInvalidValue;
  }
  p.partial_out = static_cast<float*>(args.workspace);
  p.partial_weight = reinterpret_cast<float2*>(
      p.partial_out + static_cast<int64_t>(p.max_splits) * args.batch *
                          args.query_heads * args.head_dim);
  return args.head_dim == 64 ? LaunchHeadDim<64>(p, stream)
                             : LaunchHeadDim<128>(p, stream);
}

}  // namespace intarsia
