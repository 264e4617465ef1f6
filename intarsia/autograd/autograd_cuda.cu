#include "intarsia/autograd/autograd_cuda.h"

#include "intarsia/cuda/room.cuh"

namespace intarsia::autograd_cuda {
namespace {

__global__ void Add(const float* from, float* to, int64_t rows, int64_t n,
                    int64_t stride) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < rows * n) to[i / n * stride + i % n] += from[i];
}

void AddRows(const Context& ctx, int64_t rows, int64_t n, const Tensor& from,
             Tensor* to, int64_t begin, int64_t stride) {
  if (rows * n == 0) return;
  Add<<<cuda::Blocks(rows * n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      from.data<float>(), to->mutable_data<float>() + begin, rows, n, stride);
  cuda::CheckLaunch("autograd");
}

constexpr Kernels kKernels = {.add_rows = AddRows};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::autograd_cuda
