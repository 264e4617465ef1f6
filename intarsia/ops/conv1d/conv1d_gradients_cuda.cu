// Plain gradients of the causal convolution: a thread a number of x, a block
// some channels of the weight.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/conv1d/conv1d_gradients_cuda.h"

namespace intarsia::conv1d_cuda {
namespace {

constexpr int kColumns = 32, kRows = 8;  // threads of a block

// dx_t = Σ_j weight[W−1−j] g_{t+j} within the segment.
__global__ void Inputs(const float* g, const float* weight,
                       const int32_t* segments, const int32_t* cu_seqlens,
                       float* dx, int64_t tokens, int64_t channels, int width) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= tokens * channels) return;
  const int64_t t = i / channels, c = i % channels;
  const int64_t end = cu_seqlens[segments[t] + 1];
  float sum = 0.0f;
  for (int j = 0; j < width && t + j < end; ++j) {
    sum =
        fmaf(weight[c * width + width - 1 - j], g[(t + j) * channels + c], sum);
  }
  dx[i] = sum;
}

// out[c · width + width − 1 − j] = Σ_t g_t x_{t−j} with j = blockIdx.y; without
// x Σ_t g_t. Thread y takes every kRows-th token.
__global__ void Columns(const float* g, const float* x, int64_t x_stride,
                        const int32_t* segments, const int32_t* cu_seqlens,
                        float* out, int64_t tokens, int64_t channels,
                        int width) {
  __shared__ double sums[kRows][kColumns];
  const int64_t c = int64_t{blockIdx.x} * kColumns + threadIdx.x;
  const int j = blockIdx.y;
  double sum = 0.0;
  if (c < channels) {
    for (int64_t t = threadIdx.y; t < tokens; t += kRows) {
      if (x == nullptr) {
        sum += g[t * channels + c];
      } else if (t - j >= cu_seqlens[segments[t]]) {
        sum += double{g[t * channels + c]} * x[(t - j) * x_stride + c];
      }
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || c >= channels) return;
  for (int i = 1; i < kRows; ++i) sum += sums[i][threadIdx.x];
  out[c * width + width - 1 - j] = static_cast<float>(sum);
}

Tensor SumColumns(Context& ctx, const Tensor& g, const Tensor& x, int64_t width,
                  const Shape& shape) {
  Tensor out = Tensor::Empty(shape, DType::kF32, g.device());
  if (out.numel() == 0) return out;
  const auto& batch = ctx.batch->device;
  const dim3 grid(cuda::Blocks(g.dim(1), kColumns),
                  static_cast<unsigned>(width));
  Columns<<<grid, dim3(kColumns, kRows), 0, cuda::StreamOf(ctx)>>>(
      g.data<float>(), x.defined() ? x.data<float>() : nullptr,
      x.defined() ? x.stride(0) : 0, batch.segment_ids.data<int32_t>(),
      batch.cu_seqlens.data<int32_t>(), out.mutable_data<float>(), g.dim(0),
      g.dim(1), static_cast<int>(width));
  cuda::CheckLaunch("conv1d");
  return out;
}

}  // namespace

Tensor InputGradient(Context& ctx, const Weight& weight, const Tensor& g) {
  Tensor dx = Tensor::Empty(g.shape(), DType::kF32, g.device());
  if (dx.numel() == 0) return dx;
  const auto& batch = ctx.batch->device;
  Inputs<<<cuda::Blocks(dx.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
      g.data<float>(), weight.f32(), batch.segment_ids.data<int32_t>(),
      batch.cu_seqlens.data<int32_t>(), dx.mutable_data<float>(), g.dim(0),
      g.dim(1), static_cast<int>(weight.shape()[1]));
  cuda::CheckLaunch("conv1d");
  return dx;
}

Tensor WeightGradient(Context& ctx, const Tensor& x, const Weight& weight,
                      const Tensor& g) {
  return SumColumns(ctx, g, x, weight.shape()[1], weight.shape());
}

Tensor BiasGradient(Context& ctx, const Tensor& g) {
  return SumColumns(ctx, g, Tensor(), 1, {g.dim(1)});
}

}  // namespace intarsia::conv1d_cuda
