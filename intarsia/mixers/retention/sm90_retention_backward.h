// Gradients of retention on Hopper. With dS_t the gradient of S_t,
//   dS_t = g dS_(t+1) + scale q_t^T dout_t   (dS_T: plus that of the final S)
//   dq_t = scale S_t dout_t   dk_t = dS_t v_t   dv_t = dS_t^T k_t
// The states are computed again; nothing is kept from the forward pass. The
// decay is a constant and gets no gradient.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "intarsia/mixers/retention/sm90_retention_forward.h"

namespace intarsia {

struct Sm90RetentionBackwardArgs {
  // As given to the forward pass; out and final_state are not read. Its
  // workspace is used again.
  Sm90RetentionForwardArgs forward;
  const __nv_bfloat16* dout = nullptr;  // [total, heads, value_dim]
  __nv_bfloat16* dq = nullptr;          // [total, heads, key_dim]
  __nv_bfloat16* dk = nullptr;          // [total, heads, key_dim]
  __nv_bfloat16* dv = nullptr;          // [total, heads, value_dim]
  // [sequences, heads, key_dim, value_dim] fp32: the gradient of the final
  // state (null: 0) and, unless null, that of the initial state.
  const float* dfinal_state = nullptr;
  float* dinitial_state = nullptr;
  int64_t dout_row_stride = 0, dout_head_stride = 0;
  int64_t dq_row_stride = 0, dq_head_stride = 0;
  int64_t dk_row_stride = 0, dk_head_stride = 0;
  int64_t dv_row_stride = 0, dv_head_stride = 0;
};

// Enqueues three kernels, or six, and returns at once; otherwise as
// Sm90RetentionForward.
cudaError_t Sm90RetentionBackward(const Sm90RetentionBackwardArgs& args,
                                  cudaStream_t stream);

}  // namespace intarsia
