// Plain gather and sum of rows: a thread a number.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rows/rows_cuda.h"
#include "intarsia/ops/rows/rows_gradients_cuda.h"

namespace intarsia::rows_cuda {
namespace {

template <typename T>
__global__ void Gather(const T* x, int64_t stride, const int32_t* rows,
                       const float* factors, T* out, int64_t count,
                       int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count * dim) return;
  const T value = x[rows[i / dim] * stride + i % dim];
  out[i] = factors == nullptr
               ? value
               : cuda::As<T>(factors[i / dim] * cuda::Get(value));
}

template <typename T>
__global__ void Combine(const T* x, const int32_t* first, const int32_t* order,
                        const float* factors, T* out, int64_t count,
                        int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count * dim) return;
  const int64_t t = i / dim;
  float sum = 0.0f;
  for (int32_t k = first[t]; k < first[t + 1]; ++k) {
    const int64_t row = order[k];
    const float value = cuda::Get(x[row * dim + i % dim]);
    sum += factors == nullptr ? value : factors[row] * value;
  }
  out[i] = cuda::As<T>(sum);
}

Tensor Upload(const Context& ctx, std::span<const int32_t> values) {
  return Tensor::From(values, {static_cast<int64_t>(values.size())})
      .To(ctx.device, ctx.stream);
}

const float* DataOf(const Tensor& factors) {
  return factors.defined() ? factors.data<float>() : nullptr;
}

Tensor GatherRows(Context& ctx, const Tensor& x, std::span<const int32_t> rows,
                  const Tensor& factors) {
  const int64_t count = static_cast<int64_t>(rows.size()), dim = x.dim(1);
  Tensor out = Tensor::Empty({count, dim}, x.dtype(), x.device());
  if (out.numel() == 0) return out;
  const Tensor index = Upload(ctx, rows);
  cuda::DispatchActivations(x.dtype(), [&](auto t) {
    using T = decltype(t);
    Gather<T><<<cuda::Blocks(out.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
        cuda::In<T>(x), x.stride(0), index.data<int32_t>(), DataOf(factors),
        cuda::Out<T>(out), count, dim);
  });
  cuda::CheckLaunch("rows");
  return out;
}

Tensor CombineRows(Context& ctx, const Tensor& x,
                   std::span<const int32_t> first,
                   std::span<const int32_t> order, const Tensor& factors) {
  const int64_t count = static_cast<int64_t>(first.size()) - 1, dim = x.dim(1);
  Tensor out = Tensor::Empty({count, dim}, x.dtype(), x.device());
  if (out.numel() == 0) return out;
  const Tensor begins = Upload(ctx, first), rows = Upload(ctx, order);
  cuda::DispatchActivations(x.dtype(), [&](auto t) {
    using T = decltype(t);
    Combine<T><<<cuda::Blocks(out.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
        cuda::In<T>(x), begins.data<int32_t>(),
        order.empty() ? nullptr : rows.data<int32_t>(), DataOf(factors),
        cuda::Out<T>(out), count, dim);
  });
  cuda::CheckLaunch("rows");
  return out;
}

constexpr int kScanThreads = 1024;

// A block a row.
__global__ void __launch_bounds__(kScanThreads)
    Largest(const float* x, int32_t* out, int64_t n) {
  __shared__ float tops[32];
  __shared__ int32_t places[32], broken[32];
  const float* row = x + blockIdx.x * n;
  float top = -INFINITY;
  int32_t place = INT32_MAX, bad = 0;
  for (int64_t i = threadIdx.x; i < n; i += kScanThreads) {
    const float v = row[i];
    bad |= !isfinite(v);
    if (v > top) {
      top = v;
      place = static_cast<int32_t>(i);
    }
  }
  const auto merge = [&](float other, int32_t at, int32_t also_bad) {
    if (other > top || (other == top && at < place)) {
      top = other;
      place = at;
    }
    bad |= also_bad;
  };
  for (int step = 16; step > 0; step /= 2) {
    merge(__shfl_xor_sync(~0u, top, step), __shfl_xor_sync(~0u, place, step),
          __shfl_xor_sync(~0u, bad, step));
  }
  if (threadIdx.x % 32 == 0) {
    tops[threadIdx.x / 32] = top;
    places[threadIdx.x / 32] = place;
    broken[threadIdx.x / 32] = bad;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < 32; ++w) merge(tops[w], places[w], broken[w]);
  out[blockIdx.x] = bad ? -1 : place;
}

Tensor LargestOfRows(Context& ctx, const Tensor& x) {
  Tensor out = Tensor::Empty({x.dim(0)}, DType::kI32, x.device());
  if (x.dim(0) == 0) return out;
  Largest<<<static_cast<unsigned>(x.dim(0)), kScanThreads, 0,
            cuda::StreamOf(ctx)>>>(x.data<float>(), out.mutable_data<int32_t>(),
                                   x.dim(1));
  cuda::CheckLaunch("rows");
  return out;
}

constexpr Kernels kKernels = {.gather = GatherRows,
                              .combine = CombineRows,
                              .join = Join,
                              .split = Split,
                              .dots = Dots,
                              .largest = LargestOfRows};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rows_cuda
