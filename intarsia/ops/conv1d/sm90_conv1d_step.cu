// What bounds it: one read and one write of the states, 12 bytes a channel and
// sequence at width 4. A thread takes eight channels of one sequence, whose
// states are contiguous.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/conv1d/sm90_conv1d.h"

namespace intarsia {
namespace {

constexpr int kThreads = 128;
constexpr int kChannels = 8;

// kCount floats from a 16-byte aligned address.
template <int kCount>
__device__ __forceinline__ void LoadFloats(const float* from,
                                           float (&to)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    float four[4];
    cuda::Unpack4(cuda::LoadVec(from + i), four);
#pragma unroll
    for (int j = 0; j < 4; ++j) to[i + j] = four[j];
  }
}

// grid (blocks of channels of all parts, rows).
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    Conv1dStepKernel(const __grid_constant__ Sm90Conv1dStepArgs a) {
  constexpr int kKept = kWidth - 1;
  int channel = kChannels * (blockIdx.x * kThreads + threadIdx.x), part = 0;
  while (part < a.count && channel >= a.parts[part].channels) {
    channel -= a.parts[part++].channels;
  }
  cudaTriggerProgrammaticLaunchCompletion();
  if (part == a.count) {
    cudaGridDependencySynchronize();
    return;
  }
  const Sm90Conv1dStepArgs::Part& p = a.parts[part];
  float weight[kChannels * kWidth], bias[kChannels] = {};
  LoadFloats(p.weight + channel * kWidth, weight);
  if (p.bias != nullptr) LoadFloats(p.bias + channel, bias);
  cudaGridDependencySynchronize();

  const int64_t row = blockIdx.y;
  const int slot = a.slots[row];
  __nv_bfloat16* out = p.out + row * p.channels + channel;
  if (slot < 0) return cuda::StoreVec(out, {});
  float x[kChannels], kept[kChannels * kKept], y[kChannels];
  float* state = p.state + (int64_t{slot} * p.channels + channel) * kKept;
  cuda::Unpack8(cuda::LoadVec(p.x + row * p.x_stride + channel), x);
  LoadFloats(state, kept);
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    y[i] = bias[i];
#pragma unroll
    for (int j = 0; j < kKept; ++j) {
      y[i] += weight[i * kWidth + j] * kept[i * kKept + j];
    }
    y[i] += weight[i * kWidth + kKept] * x[i];
    if (a.silu) y[i] = cuda::Silu(y[i]);
#pragma unroll
    for (int j = 0; j + 1 < kKept; ++j) {
      kept[i * kKept + j] = kept[i * kKept + j + 1];
    }
    kept[i * kKept + kKept - 1] = x[i];
  }
  cuda::StoreVec(out, cuda::Pack8(y));
#pragma unroll
  for (int i = 0; i < kChannels * kKept; i += 4) {
    const float four[4] = {kept[i], kept[i + 1], kept[i + 2], kept[i + 3]};
    cuda::StoreVec(state + i, cuda::Pack4(four));
  }
}

bool IsValid(const Sm90Conv1dStepArgs& a) {
  if (a.count < 1 || a.count > a.kMaxParts || a.rows < 0 || a.rows > 65535 ||
      a.slots == nullptr || a.width < 2 || a.width > 4) {
    return false;
  }
  for (int i = 0; i < a.count; ++i) {
    const Sm90Conv1dStepArgs::Part& p = a.parts[i];
    if (p.channels <= 0 || p.channels % kChannels != 0 || p.x_stride % 8 != 0 ||
        !cuda::IsAligned16(p.x) || !cuda::IsAligned16(p.weight) ||
        !cuda::IsAligned16(p.bias) || !cuda::IsAligned16(p.state) ||
        !cuda::IsAligned16(p.out)) {
      return false;
    }
  }
  return true;
}

}  // namespace

cudaError_t LaunchSm90Conv1dStep(const Sm90Conv1dStepArgs& a,
                                 cudaStream_t stream) {
  if (!IsValid(a)) return cudaErrorInvalidValue;
  int64_t channels = 0;
  for (int i = 0; i < a.count; ++i) channels += a.parts[i].channels;
  const cuda::LaunchShape shape = {
      .grid = dim3(
          static_cast<unsigned>(cuda::CeilDiv(channels, kChannels * kThreads)),
          static_cast<unsigned>(a.rows)),
      .block = dim3(kThreads),
      .overlap_previous = true,
      .stream = stream};
  if (a.width == 2) return cuda::Launch(Conv1dStepKernel<2>, shape, a);
  if (a.width == 3) return cuda::Launch(Conv1dStepKernel<3>, shape, a);
  return cuda::Launch(Conv1dStepKernel<4>, shape, a);
}

}  // namespace intarsia
