// Plain norms: a block a row. sm90_rms_norm beside this file is the fast one.
#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/norm/norm_cuda.h"
#include "intarsia/ops/norm/sm90_rms_norm.h"

namespace intarsia::norm_cuda {
namespace {

constexpr int kThreads = 256;

// Row r of [rows, dim] uses part r % parts of the scale [parts, dim] (and of
// the bias).
template <typename T>
__global__ void RmsNormRow(const T* x, const float* scale, T* y, int dim,
                           int64_t parts, float eps, float offset,
                           float* moments) {
  __shared__ float scratch[32];
  const T* in = x + int64_t{blockIdx.x} * dim;
  T* out = y + int64_t{blockIdx.x} * dim;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    const float v = cuda::Get(in[i]);
    squares += v * v;
  }
  const float mean = cuda::BlockSum(squares, scratch) / dim;
  const float inverse = 1.0f / sqrtf(mean + eps);
  if (moments != nullptr && threadIdx.x == 0) {
    moments[2 * int64_t{blockIdx.x}] = 0.0f;
    moments[2 * int64_t{blockIdx.x} + 1] = inverse;
  }
  const float* s = scale ? scale + blockIdx.x % parts * dim : nullptr;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    out[i] =
        cuda::As<T>(cuda::Get(in[i]) * inverse * (s ? s[i] + offset : 1.0f));
  }
}

template <typename T>
__global__ void LayerNormRow(const T* x, const float* scale, const float* bias,
                             T* y, int dim, int64_t scales, int64_t biases,
                             float eps, float* moments) {
  __shared__ float scratch[32];
  const T* in = x + int64_t{blockIdx.x} * dim;
  T* out = y + int64_t{blockIdx.x} * dim;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) sum += cuda::Get(in[i]);
  const float mean = cuda::BlockSum(sum, scratch) / dim;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    const float v = cuda::Get(in[i]) - mean;
    squares += v * v;
  }
  const float variance = cuda::BlockSum(squares, scratch) / dim;
  const float inverse = 1.0f / sqrtf(variance + eps);
  if (moments != nullptr && threadIdx.x == 0) {
    moments[2 * int64_t{blockIdx.x}] = mean;
    moments[2 * int64_t{blockIdx.x} + 1] = inverse;
  }
  const float* s = scale ? scale + blockIdx.x % scales * dim : nullptr;
  const float* b = bias ? bias + blockIdx.x % biases * dim : nullptr;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    const float value = (cuda::Get(in[i]) - mean) * inverse * (s ? s[i] : 1.0f);
    out[i] = cuda::As<T>(b ? value + b[i] : value);
  }
}

// With x̂ = (x − mean) · factor and s the scale: factor · (s g − x̂ mean(s g x̂))
// and, centred, less factor · mean(s g).
__global__ void InputGradientRow(const float* x, const float* scale,
                                 const float* g, const float* moments,
                                 float* dx, int dim, int64_t parts,
                                 float offset, bool centred) {
  __shared__ float scratch[32];
  const int64_t row = blockIdx.x, at = row * dim;
  const float mean = moments[2 * row], factor = moments[2 * row + 1];
  const float* s = scale ? scale + row % parts * dim : nullptr;
  float plain = 0.0f, with_x = 0.0f;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    const float d = g[at + i] * (s ? s[i] + offset : 1.0f);
    plain += d;
    with_x += d * (x[at + i] - mean) * factor;
  }
  plain = centred ? cuda::BlockSum(plain, scratch) / dim : 0.0f;
  with_x = cuda::BlockSum(with_x, scratch) / dim;
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    const float d = g[at + i] * (s ? s[i] + offset : 1.0f);
    dx[at + i] = factor * (d - plain - (x[at + i] - mean) * factor * with_x);
  }
}

// 32 channels of `total` a block; its threads' y takes every 8th row.
__global__ void WeightGradientColumns(const float* x, const float* g,
                                      const float* moments, float* out,
                                      int64_t rows, int64_t dim, int64_t groups,
                                      bool bias) {
  __shared__ double sums[8][32];
  const int64_t c = int64_t{blockIdx.x} * 32 + threadIdx.x;
  double sum = 0.0;
  if (c < dim * groups) {
    for (int64_t r = threadIdx.y; r < rows / groups; r += 8) {
      const int64_t row = r * groups + c / dim, at = row * dim + c % dim;
      sum += bias ? double{g[at]}
                  : double{g[at]} * (x[at] - moments[2 * row]) *
                        moments[2 * row + 1];
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || c >= dim * groups) return;
  for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
  out[c] = static_cast<float>(sum);
}

float* DataOf(Tensor* moments) {
  return moments->defined() ? moments->mutable_data<float>() : nullptr;
}

struct RmsArgs {
  const Tensor& x;
  const Weight* scale;
  float eps, offset;
  Tensor* moments;
  Tensor y;
  int64_t rows, dim;
};

constexpr Kernel<RmsArgs> kRmsNorm[] = {
    {"sm90_rms_norm",
     [](const RmsArgs& a) {
       if (a.x.dtype() != DType::kBF16) return Unsupported("bf16 activations");
       if (a.scale == nullptr || a.scale->shape().numel() != a.dim) {
         return Unsupported("one scale for all rows");
       }
       if (a.moments->defined()) return Unsupported("no tape");
       return Status::Ok();
     },
     [](Context& ctx, RmsArgs& a) {
       cuda::Require(LaunchSm90RmsNorm({.x = cuda::Bf16(a.x),
                                        .weight_f32 = a.scale->f32(),
                                        .out = cuda::Bf16Out(a.y),
                                        .rows = static_cast<int>(a.rows),
                                        .dim = static_cast<int>(a.dim),
                                        .epsilon = a.eps,
                                        .weight_offset = a.offset},
                                       cuda::StreamOf(ctx)),
                     "norm");
     }},
    {"plain", [](const RmsArgs&) { return Status::Ok(); },
     [](Context& ctx, RmsArgs& a) {
       const int64_t parts = a.scale ? a.scale->shape().numel() / a.dim : 1;
       cuda::DispatchActivations(a.x.dtype(), [&](auto t) {
         using T = decltype(t);
         RmsNormRow<T><<<static_cast<unsigned>(a.rows), kThreads, 0,
                         cuda::StreamOf(ctx)>>>(
             cuda::In<T>(a.x), a.scale ? a.scale->f32() : nullptr,
             cuda::Out<T>(a.y), static_cast<int>(a.dim), parts, a.eps, a.offset,
             DataOf(a.moments));
       });
       cuda::CheckLaunch("norm");
     }},
};

Tensor RmsNorm(Context& ctx, const Tensor& x, const Weight* scale, float eps,
               bool unit_offset, Tensor* moments) {
  RmsArgs args{x,       scale,
               eps,     unit_offset ? 1.0f : 0.0f,
               moments, Tensor::Empty(x.shape(), x.dtype(), x.device()),
               0,       x.dim(-1)};
  if (x.numel() == 0) return args.y;
  args.rows = x.numel() / args.dim;
  RunFirst(ctx, ctx.report, "rms_norm", kRmsNorm, args);
  return args.y;
}

bool AddRmsNorm(Context& ctx, const Tensor& more, const Weight& scale,
                float eps, bool unit_offset, Tensor* x, Tensor* normed) {
  const int64_t dim = x->dim(-1);
  if (x->dtype() != DType::kBF16 || more.dtype() != DType::kBF16 ||
      scale.shape().numel() != dim || x->numel() == 0 || !x->contiguous() ||
      !more.contiguous()) {
    return false;
  }
  Tensor sum = Tensor::Empty(x->shape(), DType::kBF16, x->device());
  *normed = Tensor::Empty(x->shape(), DType::kBF16, x->device());
  cuda::Require(LaunchSm90RmsNorm({.x = cuda::Bf16(*x),
                                   .residual = cuda::Bf16(more),
                                   .weight_f32 = scale.f32(),
                                   .residual_out = cuda::Bf16Out(sum),
                                   .out = cuda::Bf16Out(*normed),
                                   .rows = static_cast<int>(x->numel() / dim),
                                   .dim = static_cast<int>(dim),
                                   .epsilon = eps,
                                   .weight_offset = unit_offset ? 1.0f : 0.0f},
                                  cuda::StreamOf(ctx)),
                "norm");
  *x = sum;
  if (ctx.report != nullptr) ctx.report->Note("add_rms_norm", "sm90_rms_norm");
  return true;
}

Tensor LayerNorm(Context& ctx, const Tensor& x, const Weight* scale,
                 const Weight* bias, float eps, Tensor* moments) {
  Tensor y = Tensor::Empty(x.shape(), x.dtype(), x.device());
  const int64_t dim = x.dim(-1);
  if (x.numel() == 0) return y;
  cuda::DispatchActivations(x.dtype(), [&](auto t) {
    using T = decltype(t);
    LayerNormRow<T><<<static_cast<unsigned>(x.numel() / dim), kThreads, 0,
                      cuda::StreamOf(ctx)>>>(
        cuda::In<T>(x), scale ? scale->f32() : nullptr,
        bias ? bias->f32() : nullptr, cuda::Out<T>(y), static_cast<int>(dim),
        scale ? scale->shape().numel() / dim : 1,
        bias ? bias->shape().numel() / dim : 1, eps, DataOf(moments));
  });
  cuda::CheckLaunch("norm");
  return y;
}

Tensor InputGradient(Context& ctx, const Tensor& x, const Weight* scale,
                     bool unit_offset, bool centred, const Tensor& g,
                     const Tensor& moments) {
  Tensor dx = Tensor::Empty(x.shape(), DType::kF32, x.device());
  if (x.numel() == 0) return dx;
  const int64_t dim = x.dim(-1);
  InputGradientRow<<<static_cast<unsigned>(x.numel() / dim), kThreads, 0,
                     cuda::StreamOf(ctx)>>>(
      x.data<float>(), scale ? scale->f32() : nullptr, g.data<float>(),
      moments.data<float>(), dx.mutable_data<float>(), static_cast<int>(dim),
      scale ? scale->shape().numel() / dim : 1, unit_offset ? 1.0f : 0.0f,
      centred);
  cuda::CheckLaunch("norm");
  return dx;
}

Tensor WeightGradient(Context& ctx, const Tensor& x, const Weight& w, bool bias,
                      const Tensor& g, const Tensor& moments) {
  Tensor out = Tensor::Empty(w.shape(), DType::kF32, x.device());
  const int64_t total = w.shape().numel(), dim = x.dim(-1);
  if (total == 0) return out;
  WeightGradientColumns<<<cuda::Blocks(total, 32), dim3(32, 8), 0,
                          cuda::StreamOf(ctx)>>>(
      x.data<float>(), g.data<float>(), moments.data<float>(),
      out.mutable_data<float>(), x.numel() / dim, dim, total / dim, bias);
  cuda::CheckLaunch("norm");
  return out;
}

constexpr Kernels kKernels = {.rms_norm = RmsNorm,
                              .add_rms_norm = AddRmsNorm,
                              .layer_norm = LayerNorm,
                              .input_gradient = InputGradient,
                              .weight_gradient = WeightGradient};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::norm_cuda
