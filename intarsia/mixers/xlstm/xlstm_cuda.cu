// The plain gates and division.
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/xlstm/xlstm_cuda.h"

namespace intarsia::xlstm_cuda {
namespace {

__device__ float LogSigmoid(float x) {
  return fminf(x, 0.0f) - log1pf(expf(-fabsf(x)));
}

__global__ void Open(const float* in, const float* f, const float* v,
                     float* log_decay, float* value, int64_t n, int width) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= n) return;
  const int64_t row = at / (width + 1);
  const int c = static_cast<int>(at % (width + 1));
  const float open = expf(in[row]);
  value[at] = c < width ? open * v[row * width + c] : open;
  if (c == width) log_decay[row] = LogSigmoid(f[row]);
}

// A thread a head of a sequence.
__global__ void Largest(const float* in, const float* f, float eps,
                        const int32_t* cu_seqlens, const int32_t* slots,
                        float* m, float* floor, int heads) {
  const int h = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (h >= heads) return;
  const int segment = static_cast<int>(blockIdx.y);
  const int slot = m != nullptr ? slots[segment] : -1;
  float* own = slot >= 0 ? m + int64_t{slot} * heads + h : nullptr;
  float most = own != nullptr ? *own : 0.0f;
  const int end = cu_seqlens[segment + 1];
  for (int t = cu_seqlens[segment]; t < end; ++t) {
    const int64_t at = int64_t{t} * heads + h;
    most = fmaxf(LogSigmoid(f[at]) + most, in[at]);
    floor[at] = eps * expf(most);
  }
  if (own != nullptr) *own = most;
}

XlstmGates RunOpen(Context& ctx, const Tensor& i, const Tensor& f,
                   const Tensor& v, float eps, Tensor* m) {
  const Batch::OnDevice& batch = ctx.batch->device;
  CHECK(batch.positions.defined()) << "the batch is not uploaded";
  const int64_t rows = v.dim(0);
  const int heads = static_cast<int>(v.dim(1));
  const int width = static_cast<int>(v.dim(2));
  const auto empty = [&](const Shape& shape) {
    return Tensor::Empty(shape, DType::kF32, ctx.device);
  };
  XlstmGates out = {empty(i.shape()), empty({rows, heads, width + 1}),
                    empty(i.shape())};
  const int64_t n = out.value.numel();
  if (n == 0) return out;
  const cudaStream_t stream = cuda::StreamOf(ctx);
  Open<<<cuda::Blocks(n, 256), 256, 0, stream>>>(
      i.data<float>(), f.data<float>(), v.data<float>(),
      out.log_decay.mutable_data<float>(), out.value.mutable_data<float>(), n,
      width);
  const dim3 grid(cuda::Blocks(heads, 32),
                  static_cast<unsigned>(ctx.batch->segments()));
  Largest<<<grid, 32, 0, stream>>>(
      i.data<float>(), f.data<float>(), eps, batch.cu_seqlens.data<int32_t>(),
      batch.slots.data<int32_t>(),
      m != nullptr ? m->mutable_data<float>() : nullptr,
      out.floor.mutable_data<float>(), heads);
  cuda::CheckLaunch("xlstm");
  return out;
}

__global__ void Divide(const float* sums, const float* floor, float* y,
                       int64_t n, int width) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= n) return;
  const int64_t row = at / width;
  const float* from = sums + row * (width + 1);
  y[at] = from[at % width] / (fmaxf(fabsf(from[width]), 1.0f) + floor[row]);
}

Tensor RunDivide(Context& ctx, const Tensor& sums, const Tensor& floor) {
  const int width = static_cast<int>(sums.dim(2)) - 1;
  Tensor y =
      Tensor::Empty({sums.dim(0), sums.dim(1), width}, DType::kF32, ctx.device);
  const int64_t n = y.numel();
  if (n == 0) return y;
  Divide<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      sums.data<float>(), floor.data<float>(), y.mutable_data<float>(), n,
      width);
  cuda::CheckLaunch("xlstm");
  return y;
}

constexpr Kernels kKernels = {.open = RunOpen, .divide = RunDivide};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::xlstm_cuda
