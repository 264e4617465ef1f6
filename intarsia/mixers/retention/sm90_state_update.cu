// What bounds it: one read and one write of the states. A block takes 128
// value channels of one head: each warp a share of the K rows, each lane four
// channels, so q S needs no exchange between lanes and one between warps.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/retention/sm90_state_update.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kColumns = 128;  // of a block
constexpr int kRows = 8;       // of a warp in flight
constexpr int kMaxKeyDim = 512;

// grid (ceil(value_dim / 128), heads, batch).
__global__ void __launch_bounds__(kThreads)
    RetentionStepKernel(const __grid_constant__ Sm90RetentionStepArgs a) {
  __shared__ float2 qk[kMaxKeyDim];
  __shared__ float4 partial[kWarps][32];
  const int head = blockIdx.y;
  const int64_t batch = blockIdx.z;
  const int64_t slot = a.slots != nullptr ? a.slots[batch] : batch;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int column = blockIdx.x * kColumns + 4 * lane;
  const bool valid = column < a.value_dim && slot >= 0;
  float* state = a.state + slot * a.slot_stride +
                 int64_t{head} * a.key_dim * a.value_dim + column;
  for (int i = threadIdx.x; i < a.key_dim; i += kThreads) {
    const int64_t at = int64_t{head} * a.key_dim + i;
    qk[i] = make_float2(__bfloat162float(a.q[batch * a.q_stride + at]),
                        __bfloat162float(a.k[batch * a.k_stride + at]));
  }
  const int64_t value_at = int64_t{head} * a.value_dim + column;
  uint2 v = make_uint2(0, 0);
  if (valid) {
    v = *reinterpret_cast<const uint2*>(a.v + batch * a.v_stride + value_at);
  }
  const float value[4] = {cuda::LowBf16(v.x), cuda::HighBf16(v.x),
                          cuda::LowBf16(v.y), cuda::HighBf16(v.y)};
  const float decay = a.decay[head];
  __syncthreads();

  float out[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  if (valid) {
    for (int base = warp * kRows; base < a.key_dim; base += kWarps * kRows) {
      Vec16 s[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (base + r < a.key_dim) {
          s[r] = cuda::LoadVec(state + int64_t{base + r} * a.value_dim);
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (base + r >= a.key_dim) break;
        const float2 w = qk[base + r];
        float h[4];
        cuda::Unpack4(s[r], h);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          h[j] = fmaf(decay, h[j], w.y * value[j]);
          out[j] = fmaf(w.x, h[j], out[j]);
        }
        cuda::StoreVec(state + int64_t{base + r} * a.value_dim, cuda::Pack4(h));
      }
    }
  }
  partial[warp][lane] = make_float4(out[0], out[1], out[2], out[3]);
  __syncthreads();
  if (warp != 0 || column >= a.value_dim) return;
  float4 sum = partial[0][lane];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) {
    sum.x += partial[w][lane].x;
    sum.y += partial[w][lane].y;
    sum.z += partial[w][lane].z;
    sum.w += partial[w][lane].w;
  }
  uint2 packed;
  packed.x = cuda::PackBf16(a.scale * sum.x, a.scale * sum.y);
  packed.y = cuda::PackBf16(a.scale * sum.z, a.scale * sum.w);
  *reinterpret_cast<uint2*>(a.out + batch * a.out_stride + value_at) = packed;
}

}  // namespace

cudaError_t LaunchSm90RetentionStep(const Sm90RetentionStepArgs& a,
                                    cudaStream_t stream) {
  const auto aligned8 = [](const void* p) {
    return reinterpret_cast<uintptr_t>(p) % 8 == 0;
  };
  const bool valid =
      a.batch >= 0 && a.batch <= 65535 && a.heads > 0 && a.heads <= 65535 &&
      a.key_dim > 0 && a.key_dim <= kMaxKeyDim && a.value_dim > 0 &&
      a.value_dim % 4 == 0 && a.v_stride % 4 == 0 && a.out_stride % 4 == 0 &&
      a.slot_stride % 4 == 0 && cuda::IsAligned16(a.state) && aligned8(a.v) &&
      aligned8(a.out);
  if (!valid) return cudaErrorInvalidValue;
  return cuda::Launch(
      RetentionStepKernel,
      {.grid = dim3(static_cast<unsigned>(cuda::CeilDiv(a.value_dim, kColumns)),
                    a.heads, a.batch),
       .block = dim3(kThreads),
       .stream = stream},
      a);
}

}  // namespace intarsia
