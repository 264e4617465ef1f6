// Plain gather of rows: a thread a number.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rows/rows_cuda.h"

namespace intarsia::rows_cuda {
namespace {

__global__ void Gather(const float* x, int64_t stride, const int32_t* rows,
                       float* out, int64_t count, int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count * dim) out[i] = x[rows[i / dim] * stride + i % dim];
}

Tensor GatherRows(Context& ctx, const Tensor& x,
                  std::span<const int32_t> rows) {
  const int64_t count = static_cast<int64_t>(rows.size()), dim = x.dim(1);
  const Tensor index = Tensor::From(rows, {count}).To(x.device(), ctx.stream);
  Tensor out = Tensor::Empty({count, dim}, DType::kF32, x.device());
  if (out.numel() == 0) return out;
  Gather<<<cuda::Blocks(out.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), x.stride(0), index.data<int32_t>(),
      out.mutable_data<float>(), count, dim);
  cuda::CheckLaunch("rows");
  return out;
}

constexpr Kernels kKernels = {.gather = GatherRows};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rows_cuda
