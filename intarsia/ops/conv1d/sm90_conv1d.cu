// What bounds it: one read and one write of the activations. A thread owns
// kChannels channels and walks down kRows rows with the last inputs in
// registers, so a row is read once, apart from width - 1 rows ahead of each
// walk (which the L2 cache holds). Rows are loaded kAhead at a time.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/conv1d/sm90_conv1d.h"

namespace intarsia {
namespace {

constexpr int kThreads = 128;
constexpr int kChannels = 4;
constexpr int kRows = 64;
constexpr int kAhead = 8;

// kChannels bf16.
using Words = uint2;

__device__ __forceinline__ Words LoadWords(const __nv_bfloat16* p) {
  return *reinterpret_cast<const Words*>(p);
}
__device__ __forceinline__ void Unpack(const Words& v, float (&x)[kChannels]) {
  x[0] = cuda::LowBf16(v.x);
  x[1] = cuda::HighBf16(v.x);
  x[2] = cuda::LowBf16(v.y);
  x[3] = cuda::HighBf16(v.y);
}
__device__ __forceinline__ Words Pack(const float (&x)[kChannels]) {
  return make_uint2(cuda::PackBf16(x[0], x[1]), cuda::PackBf16(x[2], x[3]));
}

// Four weights or biases, in bf16 or fp32.
__device__ __forceinline__ void LoadConstants(const __nv_bfloat16* narrow,
                                              const float* wide, int at,
                                              float (&x)[kChannels]) {
  if (wide == nullptr) return Unpack(LoadWords(narrow + at), x);
  cuda::Unpack4(cuda::LoadVec(wide + at), x);
}

// The inputs that one output needs besides its own row, oldest first.
template <int kWidth>
struct Window {
  float tap[kWidth - 1][kChannels];
};

__device__ __forceinline__ int SequenceStart(const Sm90Conv1dArgs& a, int s) {
  return a.cu_seqlens != nullptr ? __ldg(a.cu_seqlens + s) : 0;
}
__device__ __forceinline__ int SequenceEnd(const Sm90Conv1dArgs& a, int s) {
  return a.cu_seqlens != nullptr ? __ldg(a.cu_seqlens + s + 1) : a.tokens;
}

// The sequence that owns a row: the last one that starts at or before it (so
// empty ones ahead of it are passed over).
__device__ __forceinline__ int FindSequence(const Sm90Conv1dArgs& a, int row) {
  if (a.cu_seqlens == nullptr) return 0;
  int low = 0;
  int high = a.sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (__ldg(a.cu_seqlens + middle) <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Input of a row that may lie before its sequence: `row` counts from the
// sequence's first one, and -1 is the newest carried input.
template <int kWidth>
__device__ __forceinline__ void LoadInput(const Sm90Conv1dArgs& a, float* state,
                                          int start, int row, int channel,
                                          float (&x)[kChannels]) {
  if (row >= 0) {
    Unpack(LoadWords(a.x + (int64_t{start} + row) * a.x_stride + channel), x);
    return;
  }
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    x[i] = state == nullptr ? 0.0f
                            : state[(channel + i) * a.state_channel_stride +
                                    (kWidth - 1 + row) * a.state_tap_stride];
  }
}

__device__ __forceinline__ float* StateOf(const Sm90Conv1dArgs& a, int s) {
  if (a.state == nullptr) return nullptr;
  const int slot = a.slots != nullptr ? __ldg(a.slots + s) : s;
  return slot < 0 ? nullptr : a.state + slot * a.state_slot_stride;
}

// Loads the window of the row `row` of sequence s. The walk that meets the
// sequence's first row also replaces its state, since no other one reads it.
template <int kWidth>
__device__ __noinline__ Window<kWidth> EnterSequence(const Sm90Conv1dArgs& a,
                                                     int s, int row,
                                                     int channel) {
  const int start = SequenceStart(a, s);
  float* state = StateOf(a, s);
  Window<kWidth> window;
#pragma unroll
  for (int j = 0; j < kWidth - 1; ++j) {
    LoadInput<kWidth>(a, state, start, row - start - (kWidth - 1) + j, channel,
                      window.tap[j]);
  }
  if (state == nullptr || row != start) return window;
  const int length = SequenceEnd(a, s) - start;
  Window<kWidth> last;
#pragma unroll
  for (int j = 0; j < kWidth - 1; ++j) {
    LoadInput<kWidth>(a, state, start, length - (kWidth - 1) + j, channel,
                      last.tap[j]);
  }
#pragma unroll
  for (int j = 0; j < kWidth - 1; ++j) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      state[(channel + i) * a.state_channel_stride + j * a.state_tap_stride] =
          last.tap[j][i];
    }
  }
  return window;
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    CausalConv1dKernel(const __grid_constant__ Sm90Conv1dArgs a) {
  const int channel = kChannels * (blockIdx.x * kThreads + threadIdx.x);
  if (channel >= a.channels) return;
  const int begin = blockIdx.y * kRows;
  const int end = min(a.tokens, begin + kRows);

  float weight[kWidth][kChannels];
  float bias[kChannels] = {};
  // The weights of the channels are kWidth words of four, tap by tap within a
  // channel.
#pragma unroll
  for (int v = 0; v < kWidth; ++v) {
    float four[kChannels];
    LoadConstants(a.weight, a.weight_f32, channel * kWidth + kChannels * v,
                  four);
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const int at = kChannels * v + i;
      weight[at % kWidth][at / kWidth] = four[i];
    }
  }
  if (a.bias != nullptr || a.bias_f32 != nullptr) {
    LoadConstants(a.bias, a.bias_f32, channel, bias);
  }

  int sequence = FindSequence(a, begin);
  int sequence_end = SequenceEnd(a, sequence);
  Window<kWidth> window = EnterSequence<kWidth>(a, sequence, begin, channel);
  const __nv_bfloat16* x = a.x + channel;
  __nv_bfloat16* out = a.out + channel;
  for (int base = begin; base < end; base += kAhead) {
    Words rows[kAhead];
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      if (base + r < end) {
        rows[r] = LoadWords(x + int64_t{base + r} * a.x_stride);
      }
    }
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int row = base + r;
      if (row >= end) break;
      if (row == sequence_end) {
        sequence = FindSequence(a, row);
        sequence_end = SequenceEnd(a, sequence);
        window = EnterSequence<kWidth>(a, sequence, row, channel);
      }
      float now[kChannels];
      float y[kChannels];
      Unpack(rows[r], now);
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        y[i] = bias[i];
#pragma unroll
        for (int j = 0; j < kWidth - 1; ++j) {
          y[i] += weight[j][i] * window.tap[j][i];
        }
        y[i] += weight[kWidth - 1][i] * now[i];
        if (a.silu) y[i] = cuda::Silu(y[i]);
#pragma unroll
        for (int j = 0; j + 1 < kWidth - 1; ++j) {
          window.tap[j][i] = window.tap[j + 1][i];
        }
        window.tap[kWidth - 2][i] = now[i];
      }
      *reinterpret_cast<Words*>(out + row * a.out_stride) = Pack(y);
    }
  }
}

}  // namespace

cudaError_t LaunchSm90CausalConv1d(const Sm90Conv1dArgs& a,
                                   cudaStream_t stream) {
  const bool valid =
      a.tokens >= 0 && a.channels > 0 && a.channels % 8 == 0 &&
      a.sequences >= 1 && a.width >= 2 && a.width <= 4 && a.x_stride % 8 == 0 &&
      a.out_stride % 8 == 0 && cuda::IsAligned16(a.x) &&
      cuda::IsAligned16(a.out) && cuda::IsAligned16(a.weight) &&
      cuda::IsAligned16(a.bias) && cuda::IsAligned16(a.weight_f32) &&
      cuda::IsAligned16(a.bias_f32) && cuda::CeilDiv(a.tokens, kRows) <= 65535;
  if (!valid) return cudaErrorInvalidValue;
  const cuda::LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(
                       cuda::CeilDiv(a.channels / kChannels, kThreads)),
                   static_cast<unsigned>(cuda::CeilDiv(a.tokens, kRows))),
      .block = dim3(kThreads),
      .stream = stream};
  if (a.width == 2) return cuda::Launch(CausalConv1dKernel<2>, shape, a);
  if (a.width == 3) return cuda::Launch(CausalConv1dKernel<3>, shape, a);
  return cuda::Launch(CausalConv1dKernel<4>, shape, a);
}

}  // namespace intarsia
