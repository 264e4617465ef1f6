// What bounds it: one read and one write of the states; 4 N bytes a row of the
// state against 2 for its x. A block takes one head of one sequence. Eight
// lanes share a row of N numbers, 16 bytes each and N / 32 times; a thread has
// kLoads rows' worth in flight before it computes.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/reduce.cuh"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/mamba2/sm90_state_update.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kThreads = 128;
constexpr int kRowsPerPass = kThreads / 8;
constexpr int kLoads = 16;  // 16-byte loads in flight a thread, at most

// Eight numbers of b or c as the lanes of a row hold them: 4 of every 32.
template <int kStateDim>
__device__ __forceinline__ void LoadRowVector(const __nv_bfloat16* p, int lane8,
                                              float (&x)[kStateDim / 8]) {
#pragma unroll
  for (int j = 0; j < kStateDim / 32; ++j) {
    const uint2 words = *reinterpret_cast<const uint2*>(p + 32 * j + 4 * lane8);
    x[4 * j] = cuda::LowBf16(words.x);
    x[4 * j + 1] = cuda::HighBf16(words.x);
    x[4 * j + 2] = cuda::LowBf16(words.y);
    x[4 * j + 3] = cuda::HighBf16(words.y);
  }
}

// grid (heads, batch).
template <int kStateDim>
__global__ void __launch_bounds__(kThreads)
    Mamba2StepKernel(const __grid_constant__ Sm90Mamba2StepArgs a) {
  constexpr int kVecs = kStateDim / 32;
  constexpr int kPasses = kLoads / kVecs < 4 ? kLoads / kVecs : 4;
  const int head = blockIdx.x;
  const int64_t batch = blockIdx.y;
  const int64_t slot = a.slots != nullptr ? a.slots[batch] : batch;
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
  const __nv_bfloat16* x =
      a.x + batch * a.x_stride + int64_t{head} * a.head_dim;
  __nv_bfloat16* out =
      a.out + batch * a.out_stride + int64_t{head} * a.head_dim;
  if (slot < 0) {
    for (int p = threadIdx.x; p < a.head_dim; p += kThreads) {
      out[p] = __float2bfloat16(0.0f);
    }
    return;
  }
  const int lane8 = threadIdx.x % 8;
  const int row0 = threadIdx.x / 8;
  float* state = a.state + slot * a.slot_stride +
                 int64_t{head} * a.head_dim * kStateDim + 4 * lane8;

  for (int base = 0; base < a.head_dim; base += kPasses * kRowsPerPass) {
    Vec16 s[kPasses][kVecs];
    float xp[kPasses];
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int p = base + i * kRowsPerPass + row0;
      if (p >= a.head_dim) break;
#pragma unroll
      for (int j = 0; j < kVecs; ++j) {
        s[i][j] = cuda::LoadVec(state + int64_t{p} * kStateDim + 32 * j);
      }
      xp[i] = __bfloat162float(x[p]);
    }
    float dt = __bfloat162float(a.dt[batch * a.dt_stride + head]);
    if (a.dt_bias != nullptr) dt += a.dt_bias[head];
    if (a.softplus) dt = cuda::Softplus(dt);
    dt = fminf(fmaxf(dt, a.dt_min), a.dt_max);
    const float rate = a.a_log != nullptr
                           ? -cuda::FastExp2(a.a_log[head] * cuda::kLog2E)
                           : a.a[head];
    const float decay = cuda::FastExp2(dt * rate * cuda::kLog2E);
    const float skip = a.d != nullptr ? a.d[head] : 0.0f;
    const int64_t group = head / (a.heads / a.groups);
    float b[kStateDim / 8];
    float c[kStateDim / 8];
    LoadRowVector<kStateDim>(a.b + batch * a.b_stride + group * kStateDim,
                             lane8, b);
    LoadRowVector<kStateDim>(a.c + batch * a.c_stride + group * kStateDim,
                             lane8, c);
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int p = base + i * kRowsPerPass + row0;
      const bool valid = p < a.head_dim;
      float y = 0.0f;
      if (valid) {
        const float dtx = dt * xp[i];
#pragma unroll
        for (int j = 0; j < kVecs; ++j) {
          float h[4];
          cuda::Unpack4(s[i][j], h);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            h[k] = fmaf(decay, h[k], dtx * b[4 * j + k]);
            y = fmaf(h[k], c[4 * j + k], y);
          }
          cuda::StoreVec(state + int64_t{p} * kStateDim + 32 * j,
                         cuda::Pack4(h));
        }
      }
      y = cuda::WarpReduce<cuda::Sum, 8>(y);
      if (valid && lane8 == 0) {
        y = fmaf(skip, xp[i], y);
        if (a.z != nullptr) {
          y *= cuda::Silu(__bfloat162float(
              a.z[batch * a.z_stride + int64_t{head} * a.head_dim + p]));
        }
        out[p] = __float2bfloat16(y);
      }
    }
  }
}

}  // namespace

cudaError_t LaunchSm90Mamba2Step(const Sm90Mamba2StepArgs& a,
                                 cudaStream_t stream) {
  const bool valid = a.batch >= 0 && a.batch <= 65535 && a.heads > 0 &&
                     a.head_dim > 0 && a.groups > 0 &&
                     a.heads % a.groups == 0 && a.b_stride % 8 == 0 &&
                     a.c_stride % 8 == 0 && a.slot_stride % 4 == 0 &&
                     cuda::IsAligned16(a.state) && cuda::IsAligned16(a.b) &&
                     cuda::IsAligned16(a.c);
  if (!valid) return cudaErrorInvalidValue;
  const cuda::LaunchShape shape = {.grid = dim3(a.heads, a.batch),
                                   .block = dim3(kThreads),
                                   .overlap_previous = true,
                                   .stream = stream};
  switch (a.state_dim) {
    case 32:
      return cuda::Launch(Mamba2StepKernel<32>, shape, a);
    case 64:
      return cuda::Launch(Mamba2StepKernel<64>, shape, a);
    case 128:
      return cuda::Launch(Mamba2StepKernel<128>, shape, a);
    case 256:
      return cuda::Launch(Mamba2StepKernel<256>, shape, a);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace intarsia
