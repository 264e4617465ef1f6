// Plain elementwise kernels: a thread a number.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/elementwise/elementwise_cuda.h"

namespace intarsia::elementwise_cuda {
namespace {

__device__ float Act(Activation kind, float x) {
  switch (kind) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return x / (1.0f + expf(-x));
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Activation::kGeluTanh:
      return 0.5f * x *
             (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case Activation::kRelu:
      return fmaxf(x, 0.0f);
    case Activation::kRelu2: {
      const float r = fmaxf(x, 0.0f);
      return r * r;
    }
    case Activation::kSigmoid:
      return 1.0f / (1.0f + expf(-x));
    case Activation::kSoftplus:
      return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
    case Activation::kTanh:
      return tanhf(x);
  }
  return 0.0f;
}

template <typename Fn>
__global__ void Each(float* out, int64_t n, Fn fn) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) out[i] = fn(i);
}

template <typename Fn>
Tensor Launch(Context& ctx, const Shape& shape, const Fn& fn) {
  Tensor out = Tensor::Empty(shape, DType::kF32, ctx.device);
  const int64_t n = out.numel();
  if (n == 0) return out;
  Each<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      out.mutable_data<float>(), n, fn);
  cuda::CheckLaunch("elementwise");
  return out;
}

Tensor Add(Context& ctx, const Tensor& a, const Tensor& b) {
  return Launch(ctx, a.shape(),
                [pa = a.data<float>(), pb = b.data<float>()] __device__(
                    int64_t i) { return pa[i] + pb[i]; });
}

Tensor Mul(Context& ctx, const Tensor& a, const Tensor& b) {
  return Launch(ctx, a.shape(),
                [pa = a.data<float>(), pb = b.data<float>()] __device__(
                    int64_t i) { return pa[i] * pb[i]; });
}

Tensor Scale(Context& ctx, const Tensor& x, float factor) {
  return Launch(ctx, x.shape(),
                [p = x.data<float>(), factor] __device__(int64_t i) {
                  return p[i] * factor;
                });
}

Tensor Activate(Context& ctx, Activation kind, const Tensor& x) {
  return Launch(ctx, x.shape(),
                [p = x.data<float>(), kind] __device__(int64_t i) {
                  return Act(kind, p[i]);
                });
}

Tensor Gated(Context& ctx, Activation kind, const Tensor& gate,
             const Tensor& up) {
  return Launch(
      ctx, gate.shape(),
      [g = gate.data<float>(), gs = gate.stride(0), u = up.data<float>(),
       us = up.stride(0), dim = gate.dim(-1), kind] __device__(int64_t i) {
        const int64_t row = i / dim, col = i % dim;
        return Act(kind, g[row * gs + col]) * u[row * us + col];
      });
}

constexpr Kernels kKernels = {.add = Add,
                              .mul = Mul,
                              .scale = Scale,
                              .activate = Activate,
                              .gated = Gated};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::elementwise_cuda
