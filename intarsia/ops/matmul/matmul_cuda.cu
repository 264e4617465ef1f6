// Plain linear layers: a warp a row of the weight for few tokens, shared-memory
// tiles for many. fp32 sums, never TF32.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/matmul/matmul_cuda.h"

namespace intarsia::matmul_cuda {
namespace {

using cuda::NumberAt;
using cuda::Numbers;

constexpr int kFew = 8;  // tokens that share a pass over the weight

// out[m, n] for one n a warp and up to kFew tokens.
template <Numbers kNumbers>
__global__ void FewTokens(const float* x, int64_t x_stride,
                          const unsigned char* w, int64_t row_bytes,
                          const float* bias, float* y, int m, int64_t n,
                          int64_t k) {
  const int64_t row =
      int64_t{blockIdx.x} * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= n) return;
  const int lane = threadIdx.x % 32;
  const unsigned char* weights = w + row * row_bytes;
  float sums[kFew] = {};
  for (int64_t i = lane; i < k; i += 32) {
    const float value = NumberAt<kNumbers>(weights, i);
#pragma unroll
    for (int t = 0; t < kFew; ++t) {
      if (t < m) sums[t] = fmaf(x[t * x_stride + i], value, sums[t]);
    }
  }
#pragma unroll
  for (int t = 0; t < kFew; ++t) {
    if (t >= m) break;
    const float sum = cuda::WarpSum(sums[t]);
    if (lane == 0) y[t * n + row] = bias ? sum + bias[row] : sum;
  }
}

constexpr int kTile = 64, kDepth = 16;

// 64 × 64 outputs a block of 256 threads, 4 × 4 a thread.
template <Numbers kNumbers>
__global__ void ManyTokens(const float* x, int64_t x_stride,
                           const unsigned char* w, int64_t row_bytes,
                           const float* bias, float* y, int64_t m, int64_t n,
                           int64_t k) {
  __shared__ float xs[kDepth][kTile + 4];
  __shared__ float ws[kDepth][kTile + 4];
  const int64_t m0 = int64_t{blockIdx.y} * kTile;
  const int64_t n0 = int64_t{blockIdx.x} * kTile;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float sums[4][4] = {};
  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    for (int i = threadIdx.x; i < kTile * kDepth; i += 256) {
      const int row = i / kDepth, col = i % kDepth;
      const bool inside = k0 + col < k;
      xs[col][row] =
          inside && m0 + row < m ? x[(m0 + row) * x_stride + k0 + col] : 0.0f;
      ws[col][row] =
          inside && n0 + row < n
              ? NumberAt<kNumbers>(w + (n0 + row) * row_bytes, k0 + col)
              : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kDepth; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sums[i][j] = fmaf(xs[c][ty * 4 + i], ws[c][tx * 4 + j], sums[i][j]);
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int64_t row = m0 + ty * 4 + i, col = n0 + tx * 4 + j;
      if (row >= m || col >= n) continue;
      y[row * n + col] = bias ? sums[i][j] + bias[col] : sums[i][j];
    }
  }
}

Tensor Linear(Context& ctx, const Tensor& x, const Weight& w,
              const Weight* bias) {
  const int64_t m = x.dim(0), n = w.shape()[0], k = w.shape()[1];
  Tensor y = Tensor::Empty({m, n}, DType::kF32, x.device());
  if (m == 0) return y;
  const int64_t row_bytes = static_cast<int64_t>(w.format().row_bytes(k));
  const auto* weights =
      reinterpret_cast<const unsigned char*>(w.values().raw());
  const float* b = bias ? bias->f32() : nullptr;
  const cudaStream_t stream = cuda::StreamOf(ctx);
  cuda::DispatchNumbers(cuda::NumbersOf(w.format()), [&]<Numbers kNumbers>() {
    if (m > 4 * kFew) {
      const dim3 grid(cuda::Blocks(n, kTile), cuda::Blocks(m, kTile));
      ManyTokens<kNumbers><<<grid, 256, 0, stream>>>(
          x.data<float>(), x.stride(0), weights, row_bytes, b,
          y.mutable_data<float>(), m, n, k);
      return;
    }
    for (int64_t t = 0; t < m; t += kFew) {
      FewTokens<kNumbers><<<cuda::Blocks(n, 4), 128, 0, stream>>>(
          x.data<float>() + t * x.stride(0), x.stride(0), weights, row_bytes, b,
          y.mutable_data<float>() + t * n,
          static_cast<int>(std::min<int64_t>(kFew, m - t)), n, k);
    }
  });
  cuda::CheckLaunch("matmul");
  return y;
}

constexpr Kernels kKernels = {.linear = Linear};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::matmul_cuda
