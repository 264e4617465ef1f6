// One decoding step of the Mamba-2 recurrence on Hopper, in place on the state
// pool. The equation is eq. 16 of Dao and Gu 2024 with a scalar decay a head.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// For row b of the batch, head h, its group g = h / (heads / groups):
//   d   = clamp(softplus(dt[b, h] + dt_bias[h]), dt_min, dt_max)
//   S   = exp(d A[h]) S + d x[b, h] B[b, g]^T       S: state[slot] [P, N]
//   y   = S C[b, g] + D[h] x[b, h]
//   out = y silu(z[b, h])                           or y without z
// A row with a negative slot is padding: its output is zero, no state changes.
struct Sm90Mamba2StepArgs {
  float* state = nullptr;             // [slots, heads, head_dim, state_dim]
  const int32_t* slots = nullptr;     // [batch], all different; null: 0, 1, ...
  const __nv_bfloat16* x = nullptr;   // [batch, heads, head_dim]
  const __nv_bfloat16* dt = nullptr;  // [batch, heads]
  const __nv_bfloat16* b = nullptr;   // [batch, groups, state_dim]
  const __nv_bfloat16* c = nullptr;   // [batch, groups, state_dim]
  const __nv_bfloat16* z = nullptr;   // [batch, heads, head_dim] or null
  const float* a = nullptr;           // [heads], negative: -exp(A_log)
  const float* a_log = nullptr;       // [heads], instead of a
  const float* d = nullptr;           // [heads] or null
  const float* dt_bias = nullptr;     // [heads] or null
  __nv_bfloat16* out = nullptr;       // [batch, heads, head_dim]
  int batch = 0;
  int heads = 0;
  int head_dim = 0;   // P
  int state_dim = 0;  // N: 32, 64, 128 or 256
  int groups = 1;
  // Between rows of the batch, in elements (all may be parts of one
  // projection); those of b and c are multiples of 8.
  int64_t x_stride = 0;
  int64_t dt_stride = 0;
  int64_t b_stride = 0;
  int64_t c_stride = 0;
  int64_t z_stride = 0;
  int64_t out_stride = 0;
  int64_t slot_stride = 0;  // between states, a multiple of 4
  bool softplus = true;     // false: d = clamp(dt + dt_bias)
  float dt_min = 0.0f;
  float dt_max = __builtin_huge_valf();
};

// cudaErrorInvalidValue if a limit above does not hold or state, b or c is not
// aligned to 16 bytes.
cudaError_t LaunchSm90Mamba2Step(const Sm90Mamba2StepArgs& args,
                                 cudaStream_t stream);

}  // namespace intarsia
