// Plain elementwise kernels: a thread eight numbers.
#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/elementwise/elementwise_cuda.h"
#include "intarsia/ops/elementwise/sm90_swiglu.h"

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
    case Activation::kQuickGelu:
      return x / (1.0f + expf(-1.702f * x));
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

// d act / d x.
__device__ float Slope(Activation kind, float x) {
  switch (kind) {
    case Activation::kNone:
      return 1.0f;
    case Activation::kSilu: {
      const float s = 1.0f / (1.0f + expf(-x));
      return s * (1.0f + x * (1.0f - s));
    }
    case Activation::kGelu:
      return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) +
             x * 0.39894228040143268f * expf(-0.5f * x * x);
    case Activation::kGeluTanh: {
      const float c = 0.79788456080286536f;
      const float t = tanhf(c * (x + 0.044715f * x * x * x));
      return 0.5f * (1.0f + t) +
             0.5f * x * (1.0f - t * t) * c * (1.0f + 3.0f * 0.044715f * x * x);
    }
    case Activation::kQuickGelu: {
      const float s = 1.0f / (1.0f + expf(-1.702f * x));
      return s * (1.0f + 1.702f * x * (1.0f - s));
    }
    case Activation::kRelu:
      return x > 0.0f ? 1.0f : 0.0f;
    case Activation::kRelu2:
      return 2.0f * fmaxf(x, 0.0f);
    case Activation::kSigmoid: {
      const float s = 1.0f / (1.0f + expf(-x));
      return s * (1.0f - s);
    }
    case Activation::kSoftplus:
      return 1.0f / (1.0f + expf(-x));
    case Activation::kTanh: {
      const float t = tanhf(x);
      return 1.0f - t * t;
    }
  }
  return 0.0f;
}

// 16 bytes of bf16, 32 of fp32 a thread.
constexpr int kWidth = 8;

template <typename T>
struct alignas(16) Pack {
  T v[kWidth];
};

// out[i] = fn(in[0][i], ...) for contiguous operands at 16-byte addresses.
template <typename T, typename U, typename Fn, typename... In>
__global__ void Each(U* out, int64_t n, Fn fn, const In*... in) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kWidth;
  if (i + kWidth <= n) {
    Pack<U> result;
    [&](const Pack<In>&... x) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        result.v[j] = cuda::As<U>(fn(cuda::Get(x.v[j])...));
      }
    }(*reinterpret_cast<const Pack<In>*>(in + i)...);
    *reinterpret_cast<Pack<U>*>(out + i) = result;
    return;
  }
  for (int64_t j = i; j < n; ++j) out[j] = cuda::As<U>(fn(cuda::Get(in[j])...));
}

template <typename T, typename U, typename Fn, typename... In>
__global__ void EachScalar(U* out, int64_t n, Fn fn, const In*... in) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) out[i] = cuda::As<U>(fn(cuda::Get(in[i])...));
}

template <typename T, typename U = T, typename Fn, typename... In>
Tensor Launch(Context& ctx, const Shape& shape, const Fn& fn, const In*... in) {
  Tensor out = Tensor::Empty(shape, cuda::kDTypeOf<U>, ctx.device);
  const int64_t n = out.numel();
  if (n == 0) return out;
  U* to = cuda::Out<U>(out);
  const bool aligned = ((reinterpret_cast<uintptr_t>(in) % 16 == 0) && ...);
  if (aligned) {
    Each<T, U><<<cuda::Blocks(n, 128 * kWidth), 128, 0, cuda::StreamOf(ctx)>>>(
        to, n, fn, in...);
  } else {
    EachScalar<T, U><<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
        to, n, fn, in...);
  }
  cuda::CheckLaunch("elementwise");
  return out;
}

template <typename Fn>
Tensor Unary(Context& ctx, const Tensor& x, const Fn& fn) {
  Tensor y;
  cuda::DispatchActivations(x.dtype(), [&](auto t) {
    using T = decltype(t);
    y = Launch<T>(ctx, x.shape(), fn, cuda::In<T>(x));
  });
  return y;
}

template <typename Fn>
Tensor Binary(Context& ctx, const Tensor& a, const Tensor& b, const Fn& fn) {
  CHECK(a.dtype() == b.dtype());
  Tensor y;
  cuda::DispatchActivations(a.dtype(), [&](auto t) {
    using T = decltype(t);
    y = Launch<T>(ctx, a.shape(), fn, cuda::In<T>(a), cuda::In<T>(b));
  });
  return y;
}

Tensor Add(Context& ctx, const Tensor& a, const Tensor& b) {
  return Binary(ctx, a, b, [] __device__(float x, float y) { return x + y; });
}

Tensor Mul(Context& ctx, const Tensor& a, const Tensor& b) {
  return Binary(ctx, a, b, [] __device__(float x, float y) { return x * y; });
}

Tensor Scale(Context& ctx, const Tensor& x, float factor) {
  return Unary(ctx, x, [factor] __device__(float v) { return v * factor; });
}

Tensor Activate(Context& ctx, Activation kind, const Tensor& x) {
  return Unary(ctx, x, [kind] __device__(float v) { return Act(kind, v); });
}

Tensor SoftCap(Context& ctx, const Tensor& x, float cap) {
  return Unary(ctx, x,
               [cap] __device__(float v) { return cap * tanhf(v / cap); });
}

Tensor Cast(Context& ctx, const Tensor& x, DType dtype) {
  const auto same = [] __device__(float v) { return v; };
  if (x.dtype() == DType::kF32) {
    CHECK(dtype == DType::kBF16);
    return Launch<float, __nv_bfloat16>(ctx, x.shape(), same,
                                        cuda::In<float>(x));
  }
  CHECK(dtype == DType::kF32);
  return Launch<__nv_bfloat16, float>(ctx, x.shape(), same, cuda::Bf16(x));
}

struct GatedArgs {
  Activation kind;
  const Tensor &gate, &up;
  Tensor out;
};

template <typename T>
__global__ void GatedRows(Activation kind, const T* gate, int64_t gate_stride,
                          const T* up, int64_t up_stride, T* out, int64_t n,
                          int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int64_t row = i / dim, col = i % dim;
  out[i] = cuda::As<T>(Act(kind, cuda::Get(gate[row * gate_stride + col])) *
                       cuda::Get(up[row * up_stride + col]));
}

constexpr Kernel<GatedArgs> kGated[] = {
    {"sm90_swiglu",
     [](const GatedArgs& a) {
       if (a.kind != Activation::kSilu) return Unsupported("silu");
       if (a.gate.dtype() != DType::kBF16) {
         return Unsupported("bf16 activations");
       }
       return Status::Ok();
     },
     [](Context& ctx, GatedArgs& a) {
       cuda::Require(LaunchSm90SwiGlu({.gate = cuda::Bf16(a.gate),
                                       .up = cuda::Bf16(a.up),
                                       .out = cuda::Bf16Out(a.out),
                                       .rows = static_cast<int>(a.gate.dim(0)),
                                       .dim = static_cast<int>(a.gate.dim(1)),
                                       .gate_stride = a.gate.stride(0),
                                       .up_stride = a.up.stride(0),
                                       .out_stride = a.gate.dim(1)},
                                      cuda::StreamOf(ctx)),
                     "elementwise");
     }},
    {"plain", [](const GatedArgs&) { return Status::Ok(); },
     [](Context& ctx, GatedArgs& a) {
       cuda::DispatchActivations(a.gate.dtype(), [&](auto t) {
         using T = decltype(t);
         const int64_t n = a.out.numel();
         GatedRows<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
             a.kind, cuda::In<T>(a.gate), a.gate.stride(0), cuda::In<T>(a.up),
             a.up.stride(0), cuda::Out<T>(a.out), n, a.gate.dim(-1));
       });
       cuda::CheckLaunch("elementwise");
     }},
};

Tensor Gated(Context& ctx, Activation kind, const Tensor& gate,
             const Tensor& up) {
  GatedArgs args{kind, gate, up,
                 Tensor::Empty(gate.shape(), gate.dtype(), ctx.device)};
  if (args.out.numel() > 0) {
    RunFirst(ctx, ctx.report, "gated_activation", kGated, args);
  }
  return args.out;
}

Tensor ActivateBackward(Context& ctx, Activation kind, const Tensor& x,
                        const Tensor& g) {
  return Binary(ctx, x, g, [kind] __device__(float v, float d) {
    return d * Slope(kind, v);
  });
}

Tensor Clamp(Context& ctx, const Tensor& x, float low, float high,
             float offset) {
  return Unary(ctx, x, [=] __device__(float v) {
    return fminf(fmaxf(v, low), high) + offset;
  });
}

Tensor ClampBackward(Context& ctx, const Tensor& x, float low, float high,
                     const Tensor& g) {
  return Binary(ctx, x, g, [=] __device__(float v, float d) {
    return v >= low && v <= high ? d : 0.0f;
  });
}

std::vector<Tensor> GatedBackward(Context& ctx, Activation kind,
                                  const Tensor& gate, const Tensor& up,
                                  const Tensor& g) {
  const float *pg = gate.data<float>(), *pu = up.data<float>(),
              *pd = g.data<float>();
  return {Launch<float>(
              ctx, gate.shape(),
              [kind] __device__(float a, float u, float d) {
                return d * u * Slope(kind, a);
              },
              pg, pu, pd),
          Launch<float>(
              ctx, gate.shape(),
              [kind] __device__(float a, float d) { return d * Act(kind, a); },
              pg, pd)};
}

constexpr Kernels kKernels = {.add = Add,
                              .mul = Mul,
                              .scale = Scale,
                              .activate = Activate,
                              .soft_cap = SoftCap,
                              .clamp = Clamp,
                              .gated = Gated,
                              .cast = Cast,
                              .activate_backward = ActivateBackward,
                              .clamp_backward = ClampBackward,
                              .gated_backward = GatedBackward};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::elementwise_cuda
