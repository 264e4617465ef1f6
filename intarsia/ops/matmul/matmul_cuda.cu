// Plain linear layers: a warp a row of the weight for few tokens, shared-memory
// tiles for many, fp32 sums, never TF32; and the list of these and the tuned
// ones.
#include <algorithm>
#include <string_view>
#include <vector>

#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/matmul/matmul_cuda.h"
#include "intarsia/ops/matmul/sm90_gemm.h"
#include "intarsia/ops/matmul/sm90_narrow_gemm.h"
#include "intarsia/ops/matmul/sm90_thin_gemm.h"

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

// Adds kDepth products to the 4 × 4 outputs of a thread.
__device__ __forceinline__ void AddTile(const float (&a)[kDepth][kTile + 4],
                                        const float (&b)[kDepth][kTile + 4],
                                        float (&sums)[4][4]) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (int c = 0; c < kDepth; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sums[i][j] = fmaf(a[c][ty * 4 + i], b[c][tx * 4 + j], sums[i][j]);
      }
    }
  }
}

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
    AddTile(xs, ws, sums);
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

// Eight numbers a thread.
template <Numbers kNumbers, typename T>
__global__ void Decode(const unsigned char* w, int64_t row_bytes, T* out,
                       int64_t rows, int64_t k) {
  const int64_t per_row = (k + 7) / 8;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= rows * per_row) return;
  const int64_t row = i / per_row, first = i % per_row * 8;
  T* to = out + row * k + first;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    if (first + j < k) {
      to[j] = cuda::As<T>(NumberAt<kNumbers>(w + row * row_bytes, first + j));
    }
  }
}

// Rows [..., K] of a weight in any format as one matrix.
struct Matrix {
  const unsigned char* data;
  int64_t rows, k, row_bytes;
  const Format* format;
};

Matrix MatrixOf(const Weight& w, int64_t first_row, int64_t rows) {
  const int64_t k = w.shape()[-1];
  const auto bytes = static_cast<int64_t>(w.format().row_bytes(k));
  return {reinterpret_cast<const unsigned char*>(w.values().raw()) +
              first_row * bytes,
          rows, k, bytes, &w.format()};
}

template <typename T>
Tensor Decoded(Context& ctx, const Matrix& w) {
  Tensor out = Tensor::Empty({w.rows, w.k}, cuda::kDTypeOf<T>, ctx.device);
  cuda::DispatchNumbers(cuda::NumbersOf(*w.format), [&]<Numbers kNumbers>() {
    Decode<kNumbers, T><<<cuda::Blocks(w.rows * ((w.k + 7) / 8), 256), 256, 0,
                          cuda::StreamOf(ctx)>>>(
        w.data, w.row_bytes, cuda::Out<T>(out), w.rows, w.k);
  });
  cuda::CheckLaunch("matmul");
  return out;
}

Tensor Typed(const Context& ctx, const Tensor& x, DType dtype) {
  Context untaped = ctx;  // the product is what the tape records
  untaped.tape = nullptr;
  return Cast(untaped, x, dtype);
}

// Products of one x; with `gated` two, of which y[0] = silu(first) * second.
struct LinearArgs {
  const Tensor& x;
  std::vector<Matrix> weights;
  std::vector<const Weight*> biases;
  DType operands;  // Context::dtype
  std::vector<Tensor> y;
  bool gated = false;

  int64_t rows() const { return x.dim(0); }
  const float* bias(size_t i) const {
    return biases[i] ? biases[i]->f32() : nullptr;
  }
};

Status WantsBf16(const LinearArgs& a) {
  return a.operands == DType::kBF16 ? Status::Ok()
                                    : Unsupported("bf16 activations");
}

constexpr int64_t kLarge = 4 << 20;

Status SupportsGemm(const LinearArgs& a) {
  RETURN_IF_ERROR(WantsBf16(a));
  for (const Matrix& w : a.weights) {
    if (w.k % 8 != 0 || w.rows % 8 != 0) {
      return Unsupported("a weight whose sides 8 divides");
    }
  }
  return Status::Ok();
}

Status SupportsNarrow(const LinearArgs& a) {
  RETURN_IF_ERROR(WantsBf16(a));
  if (a.rows() > Sm90NarrowGemmArgs::kMaxRows) {
    return Unsupported("at most 128 rows");
  }
  int64_t numbers = 0;
  for (const Matrix& w : a.weights) {
    if (w.format->name() != "bf16" || w.k % 8 != 0 ||
        reinterpret_cast<uintptr_t>(w.data) % 16 != 0) {
      return Unsupported("weights in bf16 whose width 8 divides");
    }
    numbers += w.rows * w.k;
  }
  // Tiles of smaller ones do not occupy the device.
  if (numbers < kLarge) return Unsupported("weights of 4M numbers or more");
  return Status::Ok();
}

constexpr int64_t kThin = 64;

Status SupportsThin(const LinearArgs& a) {
  RETURN_IF_ERROR(WantsBf16(a));
  if (a.rows() > kThin) return Unsupported("at most 64 rows");
  for (const Matrix& w : a.weights) {
    if (w.k % 32 != 0) return Unsupported("a width that 32 divides");
    const std::string_view name = w.format->name();
    const bool words = name == "f32" || name == "bf16" || name == "f16";
    if (words && reinterpret_cast<uintptr_t>(w.data) % 16 != 0) {
      return Unsupported("weights at multiples of 16 bytes");
    }
  }
  return Status::Ok();
}

ThinFormat ThinOf(const Format& format) {
  switch (cuda::NumbersOf(format)) {
    case Numbers::kF32:
      return ThinFormat::kF32;
    case Numbers::kBF16:
      return ThinFormat::kBF16;
    case Numbers::kF16:
      return ThinFormat::kF16;
    case Numbers::kQ8_0:
      return ThinFormat::kQ8_0;
    case Numbers::kQ4_0:
      return ThinFormat::kQ4_0;
    case Numbers::kQ4_1:
      return ThinFormat::kQ4_1;
  }
  return ThinFormat::kF32;
}

// bf16 rows that the tuned kernels take.
Tensor Bf16Rows(Context& ctx, const Tensor& x) {
  const Tensor rows = Typed(ctx, x, DType::kBF16);
  const bool fits = rows.stride(0) % 8 == 0 &&
                    reinterpret_cast<uintptr_t>(rows.raw()) % 16 == 0;
  return fits ? rows : rows.Clone();
}

void RunThin(Context& ctx, LinearArgs& a) {
  const Tensor x = Bf16Rows(ctx, a.x);
  std::vector<bool> done(a.weights.size());
  for (size_t first = 0; first < a.weights.size(); ++first) {
    if (done[first]) continue;
    const Matrix& like = a.weights[first];
    Sm90ThinGemmArgs args;
    args.x = cuda::Bf16(x);
    args.x_stride = x.stride(0);
    args.w_row_bytes = like.row_bytes;
    args.format = ThinOf(*like.format);
    args.y_f32 = a.y[first].dtype() == DType::kF32;
    args.gated = a.gated;
    args.rows = static_cast<int>(a.rows());
    args.in = static_cast<int>(like.k);
    for (size_t i = first; i < a.weights.size(); ++i) {
      if (done[i] || a.weights[i].format != like.format ||
          args.count == Sm90ThinGemmArgs::kMaxMatrices) {
        continue;
      }
      done[i] = true;
      args.matrices[args.count++] = {a.weights[i].data, a.bias(i),
                                     a.y[a.gated ? 0 : i].mutable_raw(),
                                     static_cast<int>(a.weights[i].rows)};
    }
    cuda::Require(LaunchSm90ThinGemm(args, cuda::StreamOf(ctx)), "matmul");
  }
}

void RunNarrow(Context& ctx, LinearArgs& a) {
  const Tensor x = Bf16Rows(ctx, a.x);
  for (size_t i = 0; i < a.weights.size();) {
    Sm90NarrowGemmArgs args;
    args.x = cuda::Bf16(x);
    args.x_stride = x.stride(0);
    args.y_f32 = a.y[0].dtype() == DType::kF32;
    args.gated = a.gated;
    args.weights_constant = true;
    args.rows = static_cast<int>(a.rows());
    args.in = static_cast<int>(a.weights[i].k);
    for (; i < a.weights.size() && args.count < args.kMaxMatrices; ++i) {
      const Matrix& w = a.weights[i];
      args.matrices[args.count++] = {
          reinterpret_cast<const __nv_bfloat16*>(w.data), a.bias(i),
          a.y[a.gated ? 0 : i].mutable_raw(), static_cast<int>(w.rows)};
    }
    cuda::Require(LaunchSm90NarrowGemm(args, cuda::StreamOf(ctx)), "matmul");
  }
}

void RunGemm(Context& ctx, LinearArgs& a) {
  const Tensor x = Bf16Rows(ctx, a.x);
  for (size_t i = 0; i < a.weights.size(); ++i) {
    const Matrix& w = a.weights[i];
    Tensor decoded;
    const void* data = w.data;
    if (w.format->name() != "bf16" ||
        reinterpret_cast<uintptr_t>(data) % 16 != 0) {
      decoded = Decoded<__nv_bfloat16>(ctx, w);
      data = decoded.raw();
    }
    cuda::Require(LaunchSm90Gemm({.x = cuda::Bf16(x),
                                  .x_stride = x.stride(0),
                                  .w = static_cast<const __nv_bfloat16*>(data),
                                  .bias = a.bias(i),
                                  .y = a.y[i].mutable_raw(),
                                  .y_f32 = a.y[i].dtype() == DType::kF32,
                                  .rows = static_cast<int>(a.rows()),
                                  .in = static_cast<int>(w.k),
                                  .out = static_cast<int>(w.rows)},
                                 cuda::StreamOf(ctx)),
                  "matmul");
  }
}

// fp32 throughout.
void RunPlain(Context& ctx, LinearArgs& a) {
  const Tensor x = Typed(ctx, a.x, DType::kF32);
  const cudaStream_t stream = cuda::StreamOf(ctx);
  const int64_t m = a.rows();
  for (size_t i = 0; i < a.weights.size(); ++i) {
    const Matrix& w = a.weights[i];
    const int64_t n = w.rows, k = w.k;
    const bool direct = a.y[i].dtype() == DType::kF32;
    Tensor y = direct ? a.y[i] : Tensor::Empty({m, n}, DType::kF32, ctx.device);
    cuda::DispatchNumbers(cuda::NumbersOf(*w.format), [&]<Numbers kNumbers>() {
      if (m > 4 * kFew) {
        const dim3 grid(cuda::Blocks(n, kTile), cuda::Blocks(m, kTile));
        ManyTokens<kNumbers><<<grid, 256, 0, stream>>>(
            x.data<float>(), x.stride(0), w.data, w.row_bytes, a.bias(i),
            y.mutable_data<float>(), m, n, k);
        return;
      }
      for (int64_t t = 0; t < m; t += kFew) {
        FewTokens<kNumbers><<<cuda::Blocks(n, 4), 128, 0, stream>>>(
            x.data<float>() + t * x.stride(0), x.stride(0), w.data, w.row_bytes,
            a.bias(i), y.mutable_data<float>() + t * n,
            static_cast<int>(std::min<int64_t>(kFew, m - t)), n, k);
      }
    });
    cuda::CheckLaunch("matmul");
    if (!direct) a.y[i] = Typed(ctx, y, a.y[i].dtype());
  }
}

constexpr Kernel<LinearArgs> kLinear[] = {
    {"sm90_narrow_gemm", SupportsNarrow, RunNarrow},
    {"sm90_thin_gemm", SupportsThin, RunThin},
    {"sm90_gemm", SupportsGemm, RunGemm},
    {"plain", [](const LinearArgs&) { return Status::Ok(); }, RunPlain},
};

void RunLinear(Context& ctx, LinearArgs& args) {
  if (args.rows() > 0) RunFirst(ctx, ctx.report, "linear", kLinear, args);
}

// With the gate in their store, where both products stand beside each other.
constexpr Kernel<LinearArgs> kGated[] = {
    {"sm90_narrow_gemm", SupportsNarrow, RunNarrow},
    {"sm90_thin_gemm", SupportsThin, RunThin},
};

bool Gated(Context& ctx, const Tensor& x, const LinearWeights& gate,
           const LinearWeights& up, Tensor* y) {
  LinearArgs args{x, {}, {}, ctx.dtype, {}, true};
  for (const LinearWeights* layer : {&gate, &up}) {
    args.weights.push_back(MatrixOf(*layer->w, 0, layer->w->shape()[0]));
    args.biases.push_back(layer->bias);
  }
  if (x.dim(0) == 0 || args.weights[0].format != args.weights[1].format) {
    return false;
  }
  for (const Kernel<LinearArgs>& kernel : kGated) {
    if (!kernel.supports(args).ok()) continue;
    if (ctx.report != nullptr) ctx.report->Note("gated_linear", kernel.name);
    *y = Tensor::Empty({x.dim(0), gate.w->shape()[0]}, x.dtype(), x.device());
    args.y = {*y};
    kernel.run(ctx, args);
    return true;
  }
  return false;
}

std::vector<Tensor> Linears(Context& ctx, const Tensor& x,
                            std::span<const LinearWeights> layers) {
  LinearArgs args{x, {}, {}, ctx.dtype, {}};
  for (const LinearWeights& layer : layers) {
    args.weights.push_back(MatrixOf(*layer.w, 0, layer.w->shape()[0]));
    args.biases.push_back(layer.bias);
    args.y.push_back(
        Tensor::Empty({x.dim(0), layer.w->shape()[0]}, x.dtype(), x.device()));
  }
  RunLinear(ctx, args);
  return args.y;
}

// Expert by expert: the rows of each are known on the host.
std::vector<Tensor> GroupedLinears(Context& ctx, const Tensor& x,
                                   std::span<const Weight* const> weights,
                                   std::span<const int32_t> offsets) {
  std::vector<Tensor> y;
  for (const Weight* w : weights) {
    y.push_back(
        Tensor::Empty({x.dim(0), w->shape()[1]}, x.dtype(), x.device()));
  }
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    if (offsets[e] == offsets[e + 1]) continue;
    const Tensor rows = x.Slice(0, offsets[e], offsets[e + 1]);
    LinearArgs args{rows, {}, {}, ctx.dtype, {}};
    for (size_t i = 0; i < weights.size(); ++i) {
      const int64_t n = weights[i]->shape()[1];
      args.weights.push_back(MatrixOf(*weights[i], e * n, n));
      args.biases.push_back(nullptr);
      args.y.push_back(y[i].Slice(0, offsets[e], offsets[e + 1]));
    }
    const std::vector<Tensor> to = args.y;
    RunLinear(ctx, args);
    for (size_t i = 0; i < to.size(); ++i) {
      if (to[i].raw() == args.y[i].raw()) continue;
      Tensor place = to[i];
      place.CopyFrom(args.y[i]);
    }
  }
  return y;
}

// c [m, n] = a b; element (i, k) of a stands at a_row i + a_col k.
__global__ void Strided(const float* a, int64_t a_row, int64_t a_col,
                        const float* b, int64_t b_row, int64_t b_col, float* c,
                        int64_t m, int64_t n, int64_t k) {
  __shared__ float as[kDepth][kTile + 4];
  __shared__ float bs[kDepth][kTile + 4];
  const int64_t m0 = int64_t{blockIdx.y} * kTile;
  const int64_t n0 = int64_t{blockIdx.x} * kTile;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float sums[4][4] = {};
  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    for (int i = threadIdx.x; i < kTile * kDepth; i += 256) {
      const int row = i % kTile, col = i / kTile;
      const bool inside = k0 + col < k;
      as[col][row] = inside && m0 + row < m
                         ? a[(m0 + row) * a_row + (k0 + col) * a_col]
                         : 0.0f;
      bs[col][row] = inside && n0 + row < n
                         ? b[(k0 + col) * b_row + (n0 + row) * b_col]
                         : 0.0f;
    }
    __syncthreads();
    AddTile(as, bs, sums);
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int64_t row = m0 + ty * 4 + i, col = n0 + tx * 4 + j;
      if (row < m && col < n) c[row * n + col] = sums[i][j];
    }
  }
}

Tensor Product(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b,
               bool trans_b) {
  const int64_t m = a.dim(trans_a ? 1 : 0), k = a.dim(trans_a ? 0 : 1);
  const int64_t n = b.dim(trans_b ? 0 : 1);
  Tensor c = Tensor::Empty({m, n}, DType::kF32, ctx.device);
  if (c.numel() == 0) return c;
  const dim3 grid(cuda::Blocks(n, kTile), cuda::Blocks(m, kTile));
  Strided<<<grid, 256, 0, cuda::StreamOf(ctx)>>>(
      a.data<float>(), a.stride(trans_a ? 1 : 0), a.stride(trans_a ? 0 : 1),
      b.data<float>(), b.stride(trans_b ? 1 : 0), b.stride(trans_b ? 0 : 1),
      c.mutable_data<float>(), m, n, k);
  cuda::CheckLaunch("matmul");
  return c;
}

Tensor InputGradient(Context& ctx, const Weight& w, const Tensor& g) {
  return Product(ctx, g, false,
                 Decoded<float>(ctx, MatrixOf(w, 0, w.shape()[0])), false);
}

__global__ void SumOfColumns(const float* x, int64_t stride, float* out,
                             int64_t rows, int64_t cols) {
  const int64_t c = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  double sum = 0.0;
  for (int64_t r = 0; r < rows; ++r) sum += x[r * stride + c];
  out[c] = static_cast<float>(sum);
}

Tensor ColumnSums(Context& ctx, const Tensor& x) {
  Tensor out = Tensor::Empty({x.dim(1)}, DType::kF32, x.device());
  if (out.numel() == 0) return out;
  SumOfColumns<<<cuda::Blocks(x.dim(1), 64), 64, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), x.stride(0), out.mutable_data<float>(), x.dim(0),
      x.dim(1));
  cuda::CheckLaunch("matmul");
  return out;
}

constexpr Kernels kKernels = {.linears = Linears,
                              .grouped_linears = GroupedLinears,
                              .gated = Gated,
                              .input_gradient = InputGradient,
                              .product = Product,
                              .column_sums = ColumnSums};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::matmul_cuda
