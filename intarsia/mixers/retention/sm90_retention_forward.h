// Retention on Hopper in bf16 with fp32 states and sums, for segments of many
// tokens (sm90_state_update.h is for one). With the decay g_h of a head,
//   S_t = g_h S_(t-1) + k_t^T v_t,   out_t = scale q_t S_t
// in chunks of 64 tokens. README_hopper.md says how it works and how fast it
// is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace intarsia {

// All pointers are device memory. Sequences lie end to end: sequence b has the
// tokens cu_seqlens[b] .. cu_seqlens[b + 1]. Strides count elements and are
// multiples of 8; the innermost dimension is contiguous; q, k, v, out are
// 16-byte aligned.
struct Sm90RetentionForwardArgs {
  const __nv_bfloat16* q = nullptr;  // [total, heads, key_dim]
  const __nv_bfloat16* k = nullptr;  // [total, heads, key_dim]
  const __nv_bfloat16* v = nullptr;  // [total, heads, value_dim]
  __nv_bfloat16* out = nullptr;      // [total, heads, value_dim]
  const float* log_decay = nullptr;  // [heads], natural log of g, <= 0
  // [sequences, heads, key_dim, value_dim]. Without an initial state (null) S
  // begins at 0; the final state is written unless null. They may be the same.
  const float* initial_state = nullptr;
  float* final_state = nullptr;
  const int32_t* cu_seqlens = nullptr;  // [sequences + 1]
  // Sm90RetentionWorkspace bytes, 16-byte aligned; null if that is 0. Its
  // content before and after the call means nothing.
  void* workspace = nullptr;

  int sequences = 0;
  int total = 0;       // rows of q, k, v, out
  int max_seqlen = 0;  // longest sequence, or more
  int heads = 0;
  int key_dim = 0;    // multiples of 64 up to 512
  int value_dim = 0;  // the same
  int64_t q_row_stride = 0, q_head_stride = 0;
  int64_t k_row_stride = 0, k_head_stride = 0;
  int64_t v_row_stride = 0, v_head_stride = 0;
  int64_t out_row_stride = 0, out_head_stride = 0;
  float scale = 1;
};

// Bytes of workspace for these sizes (only sequences, max_seqlen, heads,
// key_dim and value_dim are read), enough for the backward pass too; 0 unless
// few, long sequences are cut into segments that run side by side.
size_t Sm90RetentionWorkspace(const Sm90RetentionForwardArgs& args);

// Enqueues one or two kernels and returns at once. No allocation, no
// synchronisation; may be captured in a graph; the same bits in every run on
// the same model of device. cudaErrorInvalidValue where the arguments break
// the contract above, cudaErrorNotSupported for other sizes.
cudaError_t Sm90RetentionForward(const Sm90RetentionForwardArgs& args,
                                 cudaStream_t stream);

}  // namespace intarsia
