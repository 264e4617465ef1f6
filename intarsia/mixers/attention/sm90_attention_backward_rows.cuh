// What happens to each query row before and after the main kernel of the
// backward pass. Memory bound: each tensor is read or written once.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/tile/rows.cuh"
#include "intarsia/mixers/attention/sm90_attention_padding.cuh"

namespace intarsia::sm90 {

struct BackwardRowsParams {
  const __nv_bfloat16* out;
  const __nv_bfloat16* dout;
  const float* lse_in;  // [heads, total_q], natural
  __nv_bfloat16* dq;
  const int32_t* cu_q;
  float* dq_sum;  // the three of BackwardParams
  float* lse;
  float* delta;
  int64_t out_row_stride, out_head_stride;
  int64_t dout_row_stride, dout_head_stride;
  int64_t dq_row_stride, dq_head_stride;
  int sequences, total_q, padded_rows;
  float scale;
};

// Which rows a block of this grid, (padded_rows / kBlock, heads), works on.
template <int kBlock>
struct BackwardRows {
  int packed = 0;  // first, in the packed rows
  int count = 0;   // rows of the sequence; 0: the block lies in a gap
  __device__ BackwardRows(const int32_t* cu, int sequences) {
    const int row = blockIdx.x * kBlock;
    const int b = Padding<kBlock>::Sequence(cu, sequences, row);
    const int inside = row - Padding<kBlock>::Row(cu[b], b);
    packed = cu[b] + inside;
    count = max(0, min(kBlock, cu[b + 1] - packed));
    if (inside < 0) count = 0;
  }
};

// delta = rowsum(dout out); lse to base 2, +inf where a row sees no key or
// does not exist, so that its probabilities are 0; dq_sum = 0.
template <int kBlock, int kHeadDim>
__global__ __launch_bounds__(256) void BackwardPrepareKernel(
    const BackwardRowsParams p) {
  const BackwardRows<kBlock> rows(p.cu_q, p.sequences);
  if (rows.count == 0) return;
  const int head = blockIdx.y;
  const int64_t padded =
      int64_t{head} * p.padded_rows + int64_t{blockIdx.x} * kBlock;
  constexpr int kLanes = kHeadDim / 8;  // threads a row
  const int lane = threadIdx.x % kLanes;
  for (int r = threadIdx.x / kLanes; r < kBlock; r += 256 / kLanes) {
    float sum = 0;
    if (r < rows.count) {
      const int64_t row = rows.packed + r;
      const uint4 a = *reinterpret_cast<const uint4*>(
          p.out + row * p.out_row_stride + head * p.out_head_stride + 8 * lane);
      const uint4 b =
          *reinterpret_cast<const uint4*>(p.dout + row * p.dout_row_stride +
                                          head * p.dout_head_stride + 8 * lane);
      const uint32_t x[4] = {a.x, a.y, a.z, a.w};
      const uint32_t y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // bf16 is the upper half of fp32
        sum += __uint_as_float(x[i] << 16) * __uint_as_float(y[i] << 16);
        sum += __uint_as_float(x[i] & 0xFFFF0000u) *
               __uint_as_float(y[i] & 0xFFFF0000u);
      }
    }
#pragma unroll
    for (int step = 1; step < kLanes; step *= 2) {
      sum += __shfl_xor_sync(~0u, sum, step);
    }
    if (lane == 0) {
      float lse = INFINITY;
      if (r < rows.count) {
        lse = p.lse_in[int64_t{head} * p.total_q + rows.packed + r] *
              1.44269504089f;
        if (lse == -INFINITY) lse = INFINITY;
      }
      p.lse[padded + r] = lse;
      p.delta[padded + r] = sum;
    }
  }
  float4* zero = reinterpret_cast<float4*>(p.dq_sum + padded * kHeadDim);
  for (int i = threadIdx.x; i < kBlock * kHeadDim / 4; i += 256) {
    zero[i] = float4{0, 0, 0, 0};
  }
}

// dq = scale dq_sum, in bf16 and in its place. dq_sum of a block holds what
// thread t of warpgroup w of the main kernel had, four values at a time.
template <int kBlock, int kHeadDim>
__global__ __launch_bounds__(256) void BackwardFinishKernel(
    const BackwardRowsParams p) {
  constexpr int kRow = kHeadDim + 4;  // no bank conflicts either way
  __shared__ __align__(16) float tile[kBlock * kRow];
  const BackwardRows<kBlock> rows(p.cu_q, p.sequences);
  if (rows.count == 0) return;
  const int head = blockIdx.y;
  const float4* sum = reinterpret_cast<const float4*>(
      p.dq_sum +
      (int64_t{head} * p.padded_rows + int64_t{blockIdx.x} * kBlock) *
          kHeadDim);
  const int w = threadIdx.x / 128, t = threadIdx.x % 128;
  const int channel = (kHeadDim == 128 ? 64 * w : 0) + t / 32 * 16 + t % 32 / 4;
  const int query = (kHeadDim == 128 ? 0 : w * kBlock / 2) + 2 * (t % 4);
  constexpr int kHalf = kBlock * kHeadDim / 2;
#pragma unroll
  for (int i = 0; i < kHalf / 128; i += 4) {
    const float4 x = sum[(w * 4 + t / 32) * (kHalf / 16) + i / 4 * 32 + t % 32];
    const float values[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      tile[(query + tile::ColumnOf(i + e)) * kRow + channel +
           8 * tile::RowOf(i + e)] = values[e] * p.scale;
    }
  }
  __syncthreads();
  constexpr int kChunks = kHeadDim / 8;
  for (int i = threadIdx.x; i < rows.count * kChunks; i += 256) {
    const int r = i / kChunks, c = i % kChunks;
    const float* x = tile + r * kRow + 8 * c;
    const uint4 packed = {ptx::PackBf16(x[0], x[1]), ptx::PackBf16(x[2], x[3]),
                          ptx::PackBf16(x[4], x[5]), ptx::PackBf16(x[6], x[7])};
    *reinterpret_cast<uint4*>(p.dq + (rows.packed + r) * p.dq_row_stride +
                              head * p.dq_head_stride + 8 * c) = packed;
  }
}

struct BackwardGroupParams {
  const __nv_bfloat16* parts[2];  // [heads, rows, head_dim]: of dk and of dv
  __nv_bfloat16* out[2];
  int64_t row_stride[2], head_stride[2];
  int rows, heads_per_kv;
};

// dk and dv of a key/value head = the sums of its query heads' parts, in their
// order. A thread adds eight channels of a row; grid (channels of all rows /
// 2048, key/value heads, 2).
template <int kHeadDim>
__global__ __launch_bounds__(256) void BackwardGroupSumKernel(
    const BackwardGroupParams p) {
  const int64_t at = (int64_t{blockIdx.x} * 256 + threadIdx.x) * 8;
  const int64_t row = at / kHeadDim;
  if (row >= p.rows) return;
  const int64_t stride = int64_t{p.rows} * kHeadDim;
  const __nv_bfloat16* part =
      p.parts[blockIdx.z] + blockIdx.y * p.heads_per_kv * stride + at;
  float sum[8] = {};
#pragma unroll 4
  for (int g = 0; g < p.heads_per_kv; ++g, part += stride) {
    const uint4 words = *reinterpret_cast<const uint4*>(part);
    const uint32_t x[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum[2 * i] += __uint_as_float(x[i] << 16);
      sum[2 * i + 1] += __uint_as_float(x[i] & 0xFFFF0000u);
    }
  }
  const uint4 packed = {
      ptx::PackBf16(sum[0], sum[1]), ptx::PackBf16(sum[2], sum[3]),
      ptx::PackBf16(sum[4], sum[5]), ptx::PackBf16(sum[6], sum[7])};
  *reinterpret_cast<uint4*>(p.out[blockIdx.z] + row * p.row_stride[blockIdx.z] +
                            blockIdx.y * p.head_stride[blockIdx.z] +
                            at % kHeadDim) = packed;
}

}  // namespace intarsia::sm90
