// Gradients of sm90_ssd_forward.h. README_hopper.md beside this file says how
// they are computed and how fast.
#pragma once

#include "intarsia/mixers/mamba2/sm90_ssd_forward.h"

namespace intarsia {

// `forward` describes the problem; of its outputs and its workspace nothing is
// read, its `initial_state` is. Each output is written whole (none is added
// to); those marked so may be null. dB and dC are sums over the heads of a
// group. At a limit of the step (dt_min, dt_max) the gradient of dt is zero.
// The result is the same in every run.
struct Sm90SsdBackwardArgs {
  Sm90SsdForwardArgs forward;
  const __nv_bfloat16* dy = nullptr;  // [tokens, heads, head_dim]
  // Gradient of the final state, fp32 like the state, or null: zero.
  const float* final_gradient = nullptr;
  __nv_bfloat16* dx = nullptr;        // [tokens, heads, head_dim]
  __nv_bfloat16* db = nullptr;        // [tokens, groups, state_dim]
  __nv_bfloat16* dc = nullptr;        // [tokens, groups, state_dim]
  float* ddt = nullptr;               // [tokens, heads], of the stored dt
  float* da = nullptr;                // [heads]
  float* dd = nullptr;                // [heads] or null
  float* ddt_bias = nullptr;          // [heads] or null
  float* initial_gradient = nullptr;  // [sequences, heads, P, N] or null
  // Sm90SsdBackwardWorkspace bytes, 16-byte aligned.
  void* workspace = nullptr;
  // As in the forward arguments: multiples of 8 for bf16.
  int64_t dy_stride = 0;
  int64_t dx_stride = 0;
  int64_t db_stride = 0;
  int64_t dc_stride = 0;
  int64_t ddt_stride = 0;
};

// Bytes: two states in bf16 for every 64 tokens and head.
uint64_t Sm90SsdBackwardWorkspace(const Sm90SsdBackwardArgs& args);

// Enqueues three kernels and returns at once, under the conditions of
// Sm90SsdForward.
cudaError_t Sm90SsdBackward(const Sm90SsdBackwardArgs& args,
                            cudaStream_t stream);

}  // namespace intarsia
