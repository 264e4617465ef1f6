// Plain gather of table rows in any format: a thread a number.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/embedding/embedding_cuda.h"

namespace intarsia::embedding_cuda {
namespace {

template <cuda::Numbers kNumbers>
__global__ void Gather(const unsigned char* table, int64_t row_bytes,
                       const int32_t* ids, float* out, int64_t rows,
                       int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= rows * dim) return;
  out[i] = cuda::NumberAt<kNumbers>(table + ids[i / dim] * row_bytes, i % dim);
}

Tensor Embedding(Context& ctx, const Weight& table, const Tensor& ids) {
  const int64_t rows = ids.dim(0), dim = table.shape()[1];
  Tensor out = Tensor::Empty({rows, dim}, DType::kF32, table.values().device());
  if (out.numel() == 0) return out;
  cuda::DispatchNumbers(
      cuda::NumbersOf(table.format()), [&]<cuda::Numbers kNumbers>() {
        Gather<kNumbers>
            <<<cuda::Blocks(out.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
                reinterpret_cast<const unsigned char*>(table.values().raw()),
                static_cast<int64_t>(table.format().row_bytes(dim)),
                ids.data<int32_t>(), out.mutable_data<float>(), rows, dim);
      });
  cuda::CheckLaunch("embedding");
  return out;
}

constexpr Kernels kKernels = {.embedding = Embedding};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::embedding_cuda
