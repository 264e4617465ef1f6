// Plain gather of table rows in any format: a thread a number.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/embedding/embedding_cuda.h"

namespace intarsia::embedding_cuda {
namespace {

template <cuda::Numbers kNumbers, typename T>
__global__ void Gather(const unsigned char* table, int64_t row_bytes,
                       const int32_t* ids, T* out, int64_t rows, int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= rows * dim) return;
  out[i] = cuda::As<T>(
      cuda::NumberAt<kNumbers>(table + ids[i / dim] * row_bytes, i % dim));
}

// Rows that meet add up in any order.
__global__ void AddToRows(const float* g, const int32_t* ids, float* out,
                          int64_t rows, int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < rows * dim) atomicAdd(out + ids[i / dim] * dim + i % dim, g[i]);
}

Tensor Embedding(Context& ctx, const Weight& table, const Tensor& ids) {
  const int64_t rows = ids.dim(0), dim = table.shape()[1];
  Tensor out = Tensor::Empty({rows, dim}, ctx.dtype, table.values().device());
  if (out.numel() == 0) return out;
  cuda::DispatchNumbers(
      cuda::NumbersOf(table.format()), [&]<cuda::Numbers kNumbers>() {
        cuda::DispatchActivations(ctx.dtype, [&](auto t) {
          using T = decltype(t);
          Gather<kNumbers, T>
              <<<cuda::Blocks(out.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
                  reinterpret_cast<const unsigned char*>(table.values().raw()),
                  static_cast<int64_t>(table.format().row_bytes(dim)),
                  ids.data<int32_t>(), cuda::Out<T>(out), rows, dim);
        });
      });
  cuda::CheckLaunch("embedding");
  return out;
}

Tensor Gradient(Context& ctx, const Weight& table, const Tensor& g,
                const Tensor& ids) {
  Tensor out = Tensor::Zeros(table.shape(), DType::kF32, g.device());
  const int64_t n = g.numel();
  if (n == 0) return out;
  AddToRows<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      g.data<float>(), ids.data<int32_t>(), out.mutable_data<float>(), g.dim(0),
      g.dim(1));
  cuda::CheckLaunch("embedding");
  return out;
}

constexpr Kernels kKernels = {.embedding = Embedding, .gradient = Gradient};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::embedding_cuda
