// What bounds it: two reads and a write. Each thread has kUnroll vectors of
// both inputs in flight.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/elementwise/sm90_swiglu.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kThreads = 256;
constexpr int kUnroll = 2;
constexpr int kBlockVecs = kThreads * kUnroll;

__device__ __forceinline__ Vec16 Gate(const Vec16& gate, const Vec16& up) {
  float g[8];
  float u[8];
  cuda::Unpack8(gate, g);
  cuda::Unpack8(up, u);
#pragma unroll
  for (int j = 0; j < 8; ++j) g[j] = cuda::Silu(g[j]) * u[j];
  return cuda::Pack8(g);
}

__global__ void __launch_bounds__(kThreads)
    SwiGluKernel(const __grid_constant__ Sm90SwiGluArgs a, int blocks_per_row) {
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
  const int64_t row = blockIdx.x / blocks_per_row;
  const int first = blockIdx.x % blocks_per_row * kBlockVecs + threadIdx.x;
  const __nv_bfloat16* gate = a.gate + row * a.gate_stride;
  const __nv_bfloat16* up = a.up + row * a.up_stride;
  __nv_bfloat16* out = a.out + row * a.out_stride;
  Vec16 g[kUnroll];
  Vec16 u[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const int column = 8 * (first + i * kThreads);
    if (column < a.dim) {
      g[i] = cuda::LoadVecStream(gate + column);
      u[i] = cuda::LoadVecStream(up + column);
    }
  }
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const int column = 8 * (first + i * kThreads);
    if (column < a.dim) cuda::StoreVec(out + column, Gate(g[i], u[i]));
  }
}

__global__ void __launch_bounds__(kThreads)
    SwiGluAnyKernel(const __grid_constant__ Sm90SwiGluArgs a) {
  const int64_t row = blockIdx.x;
  for (int i = threadIdx.x; i < a.dim; i += kThreads) {
    const float g = __bfloat162float(a.gate[row * a.gate_stride + i]);
    const float u = __bfloat162float(a.up[row * a.up_stride + i]);
    a.out[row * a.out_stride + i] = __float2bfloat16(cuda::Silu(g) * u);
  }
}

}  // namespace

cudaError_t LaunchSm90SwiGlu(const Sm90SwiGluArgs& a, cudaStream_t stream) {
  if (a.rows < 0 || a.dim < 0) return cudaErrorInvalidValue;
  if (a.rows == 0 || a.dim == 0) return cudaSuccess;
  cuda::LaunchShape shape = {
      .grid = dim3(a.rows), .block = dim3(kThreads), .stream = stream};
  const bool vectors = a.dim % 8 == 0 && a.gate_stride % 8 == 0 &&
                       a.up_stride % 8 == 0 && a.out_stride % 8 == 0 &&
                       cuda::IsAligned16(a.gate) && cuda::IsAligned16(a.up) &&
                       cuda::IsAligned16(a.out);
  if (!vectors) return cuda::Launch(SwiGluAnyKernel, shape, a);
  const int64_t blocks_per_row = cuda::CeilDiv(a.dim / 8, kBlockVecs);
  const int64_t blocks = blocks_per_row * a.rows;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  shape.grid.x = static_cast<unsigned>(blocks);
  shape.overlap_previous = true;
  return cuda::Launch(SwiGluKernel, shape, a, static_cast<int>(blocks_per_row));
}

}  // namespace intarsia
