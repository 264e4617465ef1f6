// The selective scan of Mamba-1 on Hopper, forward, over packed sequences with
// states carried in and out. Gu and Dao 2023, "Mamba", eq. 2 with B-bar = dt B.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// What the scan reads, forward and backward. For token t, channel c, state n:
//   d         = softplus(dt[t, c] + dt_bias[c])
//   h[c, n]   = exp(d A[c, n]) h[c, n] + d B[t, n] x[t, c]
//   y[t, c]   = sum_n C[t, n] h[c, n] + D[c] x[t, c]
//   out[t, c] = y silu(z[t, c])                  or y without z
// fp32 inside.
struct Sm90SelectiveScanInputs {
  const __nv_bfloat16* x = nullptr;   // [tokens, channels]
  const __nv_bfloat16* dt = nullptr;  // [tokens, channels], before the bias
  const __nv_bfloat16* b = nullptr;   // [tokens, state_dim]
  const __nv_bfloat16* c = nullptr;   // [tokens, state_dim]
  const __nv_bfloat16* z = nullptr;   // [tokens, channels] or null
  const float* a = nullptr;  // [channels, state_dim], negative: -exp(A_log)
  const float* d = nullptr;  // [channels] or null
  const float* dt_bias = nullptr;  // [channels] or null
  // [sequences + 1], rows of sequence s are cu_seqlens[s] ... [s + 1] - 1; for
  // gradients from 0 to tokens without gaps. Null: all rows are one sequence.
  const int32_t* cu_seqlens = nullptr;
  int sequences = 1;
  int tokens = 0;
  int channels = 0;    // even
  int state_dim = 16;  // 16
  // Between rows, in elements: even, and multiples of 8 for b and c.
  int64_t x_stride = 0;
  int64_t dt_stride = 0;
  int64_t b_stride = 0;
  int64_t c_stride = 0;
  int64_t z_stride = 0;
  bool softplus = true;  // false: d = dt + dt_bias
};

// h starts from the sequence's state (zero without states) and is written back
// to it after the last token.
struct Sm90SelectiveScanArgs : Sm90SelectiveScanInputs {
  __nv_bfloat16* out = nullptr;  // [tokens, channels], may be x, dt or z
  float* state = nullptr;        // [slots, channels, state_dim] or null
  // Slot of each sequence; null: its number. A negative slot has no state.
  const int32_t* slots = nullptr;
  int64_t out_stride = 0;  // even
  int64_t slot_stride = 0;
};

// cudaErrorInvalidValue if a limit above does not hold, b or c is not aligned
// to 16 bytes, or x, dt, z or out to 4.
cudaError_t LaunchSm90SelectiveScan(const Sm90SelectiveScanArgs& args,
                                    cudaStream_t stream);

}  // namespace intarsia
