// Causal depthwise convolution over packed sequences on Hopper, with the SiLU
// that follows it in the state-space mixers. One kernel for prefill, chunks
// and decode (sequences of length 1).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

//   out[t, c] = f(bias[c] + sum_j weight[c, j] x[t - width + 1 + j, c])
// f is SiLU or nothing. Inputs before a sequence's first row are its carried
// ones: state[slot, c, 0 .. width - 2], oldest first, zero without a state.
// The state is then replaced by the sequence's last width - 1 inputs, in place;
// a sequence without rows keeps it.
struct Sm90Conv1dArgs {
  const __nv_bfloat16* x = nullptr;       // [tokens, channels]
  const __nv_bfloat16* weight = nullptr;  // [channels, width]
  const __nv_bfloat16* bias = nullptr;    // [channels] or null
  const float* weight_f32 = nullptr;      // both in fp32 instead
  const float* bias_f32 = nullptr;
  __nv_bfloat16* out = nullptr;  // [tokens, channels], not x
  float* state = nullptr;        // see the strides, or null
  // Slot of each sequence; null: its number. A negative slot has no state.
  const int32_t* slots = nullptr;
  // [sequences + 1], rows of sequence s are cu_seqlens[s] ... [s + 1] - 1;
  // the last one is `tokens`. Null: all rows are one sequence.
  const int32_t* cu_seqlens = nullptr;
  int sequences = 1;
  int tokens = 0;
  int channels = 0;      // a multiple of 8
  int width = 4;         // 2, 3 or 4
  int64_t x_stride = 0;  // between rows, in elements, multiples of 8
  int64_t out_stride = 0;
  int64_t state_slot_stride = 0;  // in elements
  int64_t state_channel_stride = 0;
  int64_t state_tap_stride = 0;
  bool silu = true;
};

// cudaErrorInvalidValue if a limit above does not hold or x, weight, bias or
// out is not aligned to 16 bytes.
cudaError_t LaunchSm90CausalConv1d(const Sm90Conv1dArgs& args,
                                   cudaStream_t stream);

// The same for decoding: row t is the one new input of sequence t, whose state
// is at slots[t]; with a negative slot its output is zero. Several convolutions
// of one width and the same sequences share a launch.
struct Sm90Conv1dStepArgs {
  static constexpr int kMaxParts = 3;
  struct Part {
    const __nv_bfloat16* x = nullptr;  // [rows, channels]
    int64_t x_stride = 0;              // in elements, a multiple of 8
    const float* weight = nullptr;     // [channels, width]
    const float* bias = nullptr;       // [channels] or null
    float* state = nullptr;            // [slots, channels, width - 1]
    __nv_bfloat16* out = nullptr;      // [rows, channels]
    int channels = 0;                  // a multiple of 8
  };
  Part parts[kMaxParts];
  int count = 0;
  const int32_t* slots = nullptr;  // [rows], all different but the negative
  int rows = 0;
  int width = 4;  // 2, 3 or 4
  bool silu = true;
};

// cudaErrorInvalidValue if a limit above does not hold or a pointer is not
// aligned to 16 bytes.
cudaError_t LaunchSm90Conv1dStep(const Sm90Conv1dStepArgs& args,
                                 cudaStream_t stream);

}  // namespace intarsia
