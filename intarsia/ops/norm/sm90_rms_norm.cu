// What bounds it: the bytes of x and out (and of residual and h). A block
// takes one row and keeps it in registers between the sum of squares and the
// scaling; the blocks of a multiprocessor are in different phases, so loads
// are in flight all the time. (A persistent grid that loads its next row ahead
// and holds the weights in registers was 1 to 4% slower.)
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/reduce.cuh"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/norm/sm90_rms_norm.h"

namespace intarsia {
namespace {

using cuda::Vec16;

// A row or its residual, as loaded.
template <int kVecs>
struct Row {
  Vec16 x[kVecs];
};

template <int kThreads, int kVecs>
__device__ __forceinline__ void LoadRow(Row<kVecs>& row,
                                        const __nv_bfloat16* base, int64_t r,
                                        int dim) {
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int column = 8 * (threadIdx.x + i * kThreads);
    row.x[i] = Vec16{{0, 0, 0, 0}};
    if (column < dim) row.x[i] = cuda::LoadVecStream(base + r * dim + column);
  }
}

// Adds the residual, rounds to bf16 and stores the sum if it is wanted.
template <int kThreads, int kVecs>
__device__ __forceinline__ void AddResidual(Row<kVecs>& row,
                                            const Row<kVecs>& residual,
                                            __nv_bfloat16* out, int64_t r,
                                            int dim) {
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    float a[8];
    float b[8];
    cuda::Unpack8(row.x[i], a);
    cuda::Unpack8(residual.x[i], b);
#pragma unroll
    for (int j = 0; j < 8; ++j) a[j] += b[j];
    row.x[i] = cuda::Pack8(a);
    const int column = 8 * (threadIdx.x + i * kThreads);
    if (out != nullptr && column < dim) {
      cuda::StoreVec(out + r * dim + column, row.x[i]);
    }
  }
}

template <int kVecs>
__device__ __forceinline__ float SumOfSquares(const Row<kVecs>& row) {
  float sum[2] = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    float a[8];
    cuda::Unpack8(row.x[i], a);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[j % 2] += a[j] * a[j];
  }
  return sum[0] + sum[1];
}

__device__ __forceinline__ void LoadWeights(const Sm90RmsNormArgs& a,
                                            int column, float (&w)[8]) {
  if (a.weight_f32 == nullptr) {
    return cuda::Unpack8(cuda::LoadVec(a.weight + column), w);
  }
  const Vec16 low = cuda::LoadVec(a.weight_f32 + column);
  const Vec16 high = cuda::LoadVec(a.weight_f32 + column + 4);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    w[j] = __uint_as_float(low.word[j]);
    w[4 + j] = __uint_as_float(high.word[j]);
  }
}

// grid (rows).
template <int kThreads, int kVecs, bool kResidual>
__global__ void __launch_bounds__(kThreads)
    RmsNormKernel(const __grid_constant__ Sm90RmsNormArgs a) {
  __shared__ float scratch[kThreads / 32];
  const int64_t row = blockIdx.x;
  Row<kVecs> x;
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
  LoadRow<kThreads>(x, a.x, row, a.dim);
  if constexpr (kResidual) {
    Row<kVecs> residual;
    LoadRow<kThreads>(residual, a.residual, row, a.dim);
    AddResidual<kThreads>(x, residual, a.residual_out, row, a.dim);
  }
  const float sum =
      cuda::BlockReduce<cuda::Sum, kThreads>(SumOfSquares(x), scratch);
  const float scale = rsqrtf(sum / a.dim + a.epsilon);
  if (a.inverse_rms != nullptr && threadIdx.x == 0) {
    a.inverse_rms[row] = scale;
  }
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int column = 8 * (threadIdx.x + i * kThreads);
    if (column >= a.dim) break;
    float h[8];
    float w[8];
    cuda::Unpack8(x.x[i], h);
    LoadWeights(a, column, w);
#pragma unroll
    for (int j = 0; j < 8; ++j) h[j] *= scale * (a.weight_offset + w[j]);
    cuda::StoreVec(a.out + row * a.dim + column, cuda::Pack8(h));
  }
}

// Any dimension and alignment, one element at a time. A thread rereads only
// what it wrote itself.
__global__ void __launch_bounds__(256)
    RmsNormAnyKernel(const __grid_constant__ Sm90RmsNormArgs a) {
  __shared__ float scratch[8];
  const int64_t base = static_cast<int64_t>(blockIdx.x) * a.dim;
  auto sum_at = [&](int i) {
    float h = __bfloat162float(a.x[base + i]);
    if (a.residual != nullptr) {
      h += __bfloat162float(a.residual[base + i]);
    }
    return __bfloat162float(__float2bfloat16(h));
  };
  float sum = 0.0f;
  for (int i = threadIdx.x; i < a.dim; i += 256) {
    const float h = sum_at(i);
    sum += h * h;
  }
  sum = cuda::BlockReduce<cuda::Sum, 256>(sum, scratch);
  const float scale = rsqrtf(sum / a.dim + a.epsilon);
  if (a.inverse_rms != nullptr && threadIdx.x == 0) {
    a.inverse_rms[blockIdx.x] = scale;
  }
  for (int i = threadIdx.x; i < a.dim; i += 256) {
    const float h = sum_at(i);
    const float w = a.weight_offset + (a.weight_f32 != nullptr
                                           ? a.weight_f32[i]
                                           : __bfloat162float(a.weight[i]));
    if (a.residual != nullptr && a.residual_out != nullptr) {
      a.residual_out[base + i] = __float2bfloat16(h);
    }
    a.out[base + i] = __float2bfloat16(h * (scale * w));
  }
}

template <int kThreads, int kVecs>
cudaError_t LaunchVector(const Sm90RmsNormArgs& a, cudaStream_t stream) {
  auto* kernel = a.residual != nullptr ? RmsNormKernel<kThreads, kVecs, true>
                                       : RmsNormKernel<kThreads, kVecs, false>;
  return cuda::Launch(kernel,
                      {.grid = dim3(a.rows),
                       .block = dim3(kThreads),
                       .overlap_previous = true,
                       .stream = stream},
                      a);
}

}  // namespace

cudaError_t LaunchSm90RmsNorm(const Sm90RmsNormArgs& a, cudaStream_t stream) {
  if (a.rows < 0 || a.dim <= 0) return cudaErrorInvalidValue;
  if (a.rows == 0) return cudaSuccess;
  const bool vectors =
      a.dim % 8 == 0 && a.dim <= 16384 && cuda::IsAligned16(a.x) &&
      cuda::IsAligned16(a.residual) && cuda::IsAligned16(a.weight) &&
      cuda::IsAligned16(a.weight_f32) && cuda::IsAligned16(a.residual_out) &&
      cuda::IsAligned16(a.out);
  if (!vectors) {
    return cuda::Launch(
        RmsNormAnyKernel,
        {.grid = dim3(a.rows), .block = dim3(256), .stream = stream}, a);
  }
  if (a.dim <= 1024) return LaunchVector<128, 1>(a, stream);
  if (a.dim <= 2048) return LaunchVector<128, 2>(a, stream);
  if (a.dim <= 4096) return LaunchVector<256, 2>(a, stream);
  if (a.dim <= 8192) return LaunchVector<512, 2>(a, stream);
  return LaunchVector<512, 4>(a, stream);
}

}  // namespace intarsia
