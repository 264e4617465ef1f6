// What bounds it: the bytes of the weights. The weights are the left operand of
// mma.m16n8k16, so that 8 tokens cost what one does. A block computes 16 or
// 32 rows of a weight; its eight warps take every eighth 32 channels, each with
// all its loads of a round in flight, and add up in shared memory.
//
// A lane loads 8 channels in a row, where the instruction wants pairs that lie
// 8 apart: both operands are permuted alike, which leaves the sum as it is.
#include <cuda_fp16.h>

#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/matmul/sm90_thin_gemm.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kWarps = 8, kStep = 32;

// Tiles of 16 rows of the weight in a block: two where tokens are many and the
// weights large, since a load of theirs then serves both; else one, so that
// small weights have blocks enough.
// With `gated` a tile is 8 rows of each of the two matrices.
bool TwoTiles(const Sm90ThinGemmArgs& a) {
  int64_t out = 0;
  for (int i = 0; i < a.count; ++i) out += a.matrices[i].out;
  return a.rows > 8 && out * a.in >= 4 << 20;
}

__device__ __forceinline__ void Mma(float (&d)[4], uint32_t a0, uint32_t a1,
                                    uint32_t a2, uint32_t a3, uint32_t b0,
                                    uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float HalfAt(const uint8_t* p) {
  return __half2float(__ushort_as_half(*reinterpret_cast<const uint16_t*>(p)));
}

// Channels k ... k + 7 of a row as bf16; k is a multiple of 8. Loads first,
// decoding when the numbers are wanted.
template <ThinFormat kFormat>
struct Eight {
  Vec16 raw;
  Vec16 more;  // kF32: the other four
  float scale, shift;

  __device__ __forceinline__ void Load(const uint8_t* row, int k) {
    if constexpr (kFormat == ThinFormat::kBF16 || kFormat == ThinFormat::kF16) {
      raw = cuda::LoadVecStream(row + 2 * int64_t{k});
    } else if constexpr (kFormat == ThinFormat::kF32) {
      raw = cuda::LoadVecStream(row + 4 * int64_t{k});
      more = cuda::LoadVecStream(row + 4 * int64_t{k} + 16);
    } else if constexpr (kFormat == ThinFormat::kQ8_0) {
      const uint8_t* block = row + int64_t{k / 32} * 34;
      scale = HalfAt(block);
      const auto* codes = reinterpret_cast<const uint16_t*>(block + 2 + k % 32);
#pragma unroll
      for (int i = 0; i < 4; ++i) raw.word[i] = codes[i];
    } else {
      constexpr int kHeader = kFormat == ThinFormat::kQ4_0 ? 2 : 4;
      const uint8_t* block = row + int64_t{k / 32} * (kHeader + 16);
      scale = HalfAt(block);
      shift = kFormat == ThinFormat::kQ4_0 ? -8.0f * scale : HalfAt(block + 2);
      const auto* codes =
          reinterpret_cast<const uint16_t*>(block + kHeader + k % 16);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        raw.word[i] = k % 32 < 16 ? codes[i] : codes[i] >> 4;
      }
    }
  }

  __device__ __forceinline__ Vec16 Decoded() const {
    if constexpr (kFormat == ThinFormat::kBF16) {
      return raw;
    } else {
      Vec16 out;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float low, high;
        if constexpr (kFormat == ThinFormat::kF16) {
          const float2 v =
              __half22float2(*reinterpret_cast<const __half2*>(&raw.word[i]));
          low = v.x;
          high = v.y;
        } else if constexpr (kFormat == ThinFormat::kF32) {
          const Vec16& from = i < 2 ? raw : more;
          low = __uint_as_float(from.word[2 * (i % 2)]);
          high = __uint_as_float(from.word[2 * (i % 2) + 1]);
        } else if constexpr (kFormat == ThinFormat::kQ8_0) {
          low = scale * static_cast<float>(static_cast<int8_t>(raw.word[i]));
          high =
              scale * static_cast<float>(static_cast<int8_t>(raw.word[i] >> 8));
        } else {
          low = fmaf(scale, static_cast<float>(raw.word[i] & 15), shift);
          high = fmaf(scale, static_cast<float>(raw.word[i] >> 8 & 15), shift);
        }
        out.word[i] = cuda::PackBf16(low, high);
      }
      return out;
    }
  }
};

template <ThinFormat kFormat, int kTokens, int kTiles, typename Y>
__global__ void __launch_bounds__(kWarps * 32)
    ThinGemmKernel(const __grid_constant__ Sm90ThinGemmArgs a) {
  constexpr int kRows = 16 * kTiles, kRounds = 4 / kTiles;
  __shared__ float sums[kWarps][8 * kTokens][16 + 1];
  cudaTriggerProgrammaticLaunchCompletion();
  int block = blockIdx.x, m = 0;
  for (; m + 1 < a.count && !a.gated; ++m) {
    const int blocks = (a.matrices[m].out + kRows - 1) / kRows;
    if (block < blocks) break;
    block -= blocks;
  }
  const Sm90ThinGemmArgs::Matrix& matrix = a.matrices[m];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int quad = lane / 4, part = lane % 4 * 8;
  const int first = block * (a.gated ? kRows / 2 : kRows);
  const uint8_t* row[kRows / 8];
#pragma unroll
  for (int r = 0; r < kRows / 8; ++r) {
    const int n = first + quad + 8 * (a.gated ? r / 2 : r);
    const void* w = a.gated ? a.matrices[r % 2].w : matrix.w;
    row[r] = static_cast<const uint8_t*>(w) +
             int64_t{min(n, matrix.out - 1)} * a.w_row_bytes;
  }
  const __nv_bfloat16* x[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    x[t] = a.x + int64_t{min(8 * t + quad, a.rows - 1)} * a.x_stride + part;
  }

  float acc[kTiles][kTokens][4] = {};
  for (int k0 = warp * kStep; k0 < a.in; k0 += kWarps * kStep * kRounds) {
    Eight<kFormat> rows[kRounds][kRows / 8];
#pragma unroll
    for (int u = 0; u < kRounds; ++u) {
      const int k = k0 + u * kWarps * kStep;
      if (k < a.in) {
#pragma unroll
        for (int r = 0; r < kRows / 8; ++r) rows[u][r].Load(row[r], k + part);
      }
    }
    // x is of the kernel ahead in the stream, the weights are not.
    if (k0 < kWarps * kStep) cudaGridDependencySynchronize();
#pragma unroll
    for (int u = 0; u < kRounds; ++u) {
      const int k = k0 + u * kWarps * kStep;
      if (k >= a.in) break;
      Vec16 b[kTokens];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) b[t] = cuda::LoadVec(x[t] + k);
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const Vec16 w0 = rows[u][2 * i].Decoded();
        const Vec16 w1 = rows[u][2 * i + 1].Decoded();
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          Mma(acc[i][t], w0.word[0], w1.word[0], w0.word[1], w1.word[1],
              b[t].word[0], b[t].word[1]);
          Mma(acc[i][t], w0.word[2], w1.word[2], w0.word[3], w1.word[3],
              b[t].word[2], b[t].word[3]);
        }
      }
    }
  }

#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile > 0) __syncthreads();
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[warp][8 * t + lane % 4 * 2 + i % 2][quad + i / 2 * 8] =
            acc[tile][t][i];
      }
    }
    __syncthreads();
    // What the kernel ahead may still read is not written before, whichever
    // warps had no share of the width.
    cudaGridDependencySynchronize();
    const int width = a.gated ? 8 : 16;
    for (int i = threadIdx.x; i < a.rows * width; i += kWarps * 32) {
      const int token = i / width, r = first + width * tile + i % width;
      if (r >= matrix.out) continue;
      float sum = matrix.bias != nullptr ? matrix.bias[r] : 0.0f;
#pragma unroll
      for (int v = 0; v < kWarps; ++v) sum += sums[v][token][i % width];
      if (a.gated) {
        const float* bias = a.matrices[1].bias;
        float up = bias != nullptr ? bias[r] : 0.0f;
#pragma unroll
        for (int v = 0; v < kWarps; ++v) up += sums[v][token][8 + i % width];
        sum = cuda::Silu(sum) * up;
      }
      Y* y = static_cast<Y*>(matrix.y) + int64_t{token} * matrix.out + r;
      if constexpr (sizeof(Y) == 4) {
        *y = sum;
      } else {
        *y = __float2bfloat16_rn(sum);
      }
    }
  }
}

template <ThinFormat kFormat, int kTokens, int kTiles>
cudaError_t LaunchTiles(const Sm90ThinGemmArgs& a,
                        const cuda::LaunchShape& shape) {
  return a.y_f32 ? cuda::Launch(ThinGemmKernel<kFormat, kTokens, kTiles, float>,
                                shape, a)
                 : cuda::Launch(
                       ThinGemmKernel<kFormat, kTokens, kTiles, __nv_bfloat16>,
                       shape, a);
}

template <ThinFormat kFormat, int kTokens>
cudaError_t LaunchFor(const Sm90ThinGemmArgs& a,
                      const cuda::LaunchShape& shape) {
  return TwoTiles(a) ? LaunchTiles<kFormat, kTokens, 2>(a, shape)
                     : LaunchTiles<kFormat, kTokens, 1>(a, shape);
}

template <ThinFormat kFormat>
cudaError_t LaunchFormat(const Sm90ThinGemmArgs& a,
                         const cuda::LaunchShape& shape) {
  if (a.rows <= 8) return LaunchTiles<kFormat, 1, 1>(a, shape);
  if (a.rows <= 16) return LaunchFor<kFormat, 2>(a, shape);
  if (a.rows <= 32) return LaunchFor<kFormat, 4>(a, shape);
  return LaunchFor<kFormat, 8>(a, shape);
}

}  // namespace

cudaError_t LaunchSm90ThinGemm(const Sm90ThinGemmArgs& a, cudaStream_t stream) {
  if (a.rows < 1 || a.rows > 64 || a.in <= 0 || a.in % kStep != 0 ||
      a.count < 1 || a.count > a.kMaxMatrices || a.x_stride % 8 != 0 ||
      !cuda::IsAligned16(a.x)) {
    return cudaErrorInvalidValue;
  }
  const bool words = a.format == ThinFormat::kBF16 ||
                     a.format == ThinFormat::kF16 ||
                     a.format == ThinFormat::kF32;
  int64_t blocks = 0;
  for (int i = 0; i < a.count; ++i) {
    if (a.matrices[i].out <= 0 ||
        (words &&
         (!cuda::IsAligned16(a.matrices[i].w) || a.w_row_bytes % 16 != 0))) {
      return cudaErrorInvalidValue;
    }
    if (i > 0 && a.gated) continue;
    const int rows = TwoTiles(a) ? 32 : 16;
    blocks += cuda::CeilDiv(a.matrices[i].out, a.gated ? rows / 2 : rows);
  }
  if (a.gated && (a.count != 2 || a.matrices[0].out != a.matrices[1].out)) {
    return cudaErrorInvalidValue;
  }
  const cuda::LaunchShape shape = {.grid = dim3(static_cast<unsigned>(blocks)),
                                   .block = dim3(kWarps * 32),
                                   .overlap_previous = true,
                                   .stream = stream};
  switch (a.format) {
    case ThinFormat::kBF16:
      return LaunchFormat<ThinFormat::kBF16>(a, shape);
    case ThinFormat::kF16:
      return LaunchFormat<ThinFormat::kF16>(a, shape);
    case ThinFormat::kQ8_0:
      return LaunchFormat<ThinFormat::kQ8_0>(a, shape);
    case ThinFormat::kQ4_0:
      return LaunchFormat<ThinFormat::kQ4_0>(a, shape);
    case ThinFormat::kQ4_1:
      return LaunchFormat<ThinFormat::kQ4_1>(a, shape);
    case ThinFormat::kF32:
      return LaunchFormat<ThinFormat::kF32>(a, shape);
  }
  return cudaErrorInvalidValue;
}

}  // namespace intarsia
