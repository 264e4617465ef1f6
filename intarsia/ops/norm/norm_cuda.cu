// Plain norms: a block a row.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/norm/norm_cuda.h"

namespace intarsia::norm_cuda {
namespace {

constexpr int kThreads = 256;

// Row r of [rows, dim] uses part r % parts of the scale [parts, dim].
__global__ void RmsNormRow(const float* x, const float* scale, float* y,
                           int dim, int64_t parts, float eps, float offset) {
  __shared__ float scratch[32];
  const float* in = x + int64_t{blockIdx.x} * dim;
  float* out = y + int64_t{blockIdx.x} * dim;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) squares += in[i] * in[i];
  const float mean = cuda::BlockSum(squares, scratch) / dim;
  const float inverse = 1.0f / sqrtf(mean + eps);
  const float* s = scale ? scale + blockIdx.x % parts * dim : nullptr;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    out[i] = in[i] * inverse * (s ? s[i] + offset : 1.0f);
  }
}

__global__ void LayerNormRow(const float* x, const float* scale,
                             const float* bias, float* y, int dim, float eps) {
  __shared__ float scratch[32];
  const float* in = x + int64_t{blockIdx.x} * dim;
  float* out = y + int64_t{blockIdx.x} * dim;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) sum += in[i];
  const float mean = cuda::BlockSum(sum, scratch) / dim;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    squares += (in[i] - mean) * (in[i] - mean);
  }
  const float variance = cuda::BlockSum(squares, scratch) / dim;
  const float inverse = 1.0f / sqrtf(variance + eps);
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    const float value = (in[i] - mean) * inverse * (scale ? scale[i] : 1.0f);
    out[i] = bias ? value + bias[i] : value;
  }
}

Tensor RmsNorm(Context& ctx, const Tensor& x, const Weight* scale, float eps,
               bool unit_offset) {
  Tensor y = Tensor::Empty(x.shape(), DType::kF32, x.device());
  const int64_t dim = x.dim(-1);
  if (x.numel() == 0) return y;
  const int64_t parts = scale ? scale->shape().numel() / dim : 1;
  RmsNormRow<<<static_cast<unsigned>(x.numel() / dim), kThreads, 0,
               cuda::StreamOf(ctx)>>>(
      x.data<float>(), scale ? scale->f32() : nullptr, y.mutable_data<float>(),
      static_cast<int>(dim), parts, eps, unit_offset ? 1.0f : 0.0f);
  cuda::CheckLaunch("norm");
  return y;
}

Tensor LayerNorm(Context& ctx, const Tensor& x, const Weight* scale,
                 const Weight* bias, float eps) {
  Tensor y = Tensor::Empty(x.shape(), DType::kF32, x.device());
  const int64_t dim = x.dim(-1);
  if (x.numel() == 0) return y;
  LayerNormRow<<<static_cast<unsigned>(x.numel() / dim), kThreads, 0,
                 cuda::StreamOf(ctx)>>>(
      x.data<float>(), scale ? scale->f32() : nullptr,
      bias ? bias->f32() : nullptr, y.mutable_data<float>(),
      static_cast<int>(dim), eps);
  cuda::CheckLaunch("norm");
  return y;
}

constexpr Kernels kKernels = {.rms_norm = RmsNorm, .layer_norm = LayerNorm};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::norm_cuda
