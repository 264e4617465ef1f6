// Gradients of attention on Hopper in bf16 with fp32 accumulation: given the
// gradient of out and what Sm90AttentionForward returned,
//   P = exp(scale S - lse)   dV = P^T dO   dP = dO V^T
//   dS = P (dP - rowsum(dO out))   dQ = scale dS K   dK = scale dS^T Q
// README_hopper.md beside this file says how it works and how fast it is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "intarsia/mixers/attention/sm90_attention_forward.h"

namespace intarsia {

struct Sm90AttentionBackwardArgs {
  // As given to the forward pass, with out and lse as it wrote them (lse is
  // needed here); its tile_counter is used again.
  Sm90AttentionForwardArgs forward;
  const __nv_bfloat16* dout = nullptr;  // [total_q, heads, head_dim]
  __nv_bfloat16* dq = nullptr;          // [total_q, heads, head_dim]
  __nv_bfloat16* dk = nullptr;          // [total_k, kv_heads, head_dim]
  __nv_bfloat16* dv = nullptr;          // [total_k, kv_heads, head_dim]
  int64_t dout_row_stride = 0, dout_head_stride = 0;
  int64_t dq_row_stride = 0, dq_head_stride = 0;
  int64_t dk_row_stride = 0, dk_head_stride = 0;
  int64_t dv_row_stride = 0, dv_head_stride = 0;
  // Sm90AttentionBackwardWorkspace bytes, 256-byte aligned; its content before
  // and after the call means nothing.
  void* workspace = nullptr;
};

// Bytes of workspace for these sizes (only sequences, total_q, total_k, heads,
// kv_heads and head_dim are read): the fp32 accumulator of dq, two numbers a
// row and, with heads > kv_heads, dk and dv of every query head in bf16.
size_t Sm90AttentionBackwardWorkspace(const Sm90AttentionForwardArgs& args);

// Enqueues three kernels (four with heads > kv_heads) and returns at once; may
// be captured in a graph. dk and dv are the same in every run; dq sums in an
// order that varies, so its last bit may. head_dim 64 or 128, else
// cudaErrorNotSupported.
cudaError_t Sm90AttentionBackward(const Sm90AttentionBackwardArgs& args,
                                  cudaStream_t stream);

}  // namespace intarsia
