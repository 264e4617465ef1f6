// Attention forward on Hopper in bf16 with fp32 softmax and accumulation:
//   out[i, h] = sum_j softmax_j(scale q[i, h] . k[j, g]) v[j, g]
// over the keys j that query i of the same sequence may see; query head h
// reads key/value head g = h / (heads / kv_heads). README_hopper.md beside
// this file says how it works and how fast it is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace intarsia {

// All pointers are device memory. Sequences lie end to end: sequence b has
// queries cu_seqlens_q[b] .. cu_seqlens_q[b + 1] and keys cu_seqlens_k[b] ..
// Query i of a sequence with m queries and n keys stands at position i + n - m
// among the keys (the last query sees the last key). Strides count elements;
// the innermost dimension is contiguous. Row and head strides are multiples of
// 8 and pointers of q, k, v, out are 16-byte aligned.
struct Sm90AttentionForwardArgs {
  const __nv_bfloat16* q = nullptr;  // [total_q, heads, head_dim]
  const __nv_bfloat16* k = nullptr;  // [total_k, kv_heads, head_dim]
  const __nv_bfloat16* v = nullptr;  // [total_k, kv_heads, head_dim]
  __nv_bfloat16* out = nullptr;      // [total_q, heads, head_dim]
  // [heads, total_q], natural log of the sum of exponentials of the scaled
  // scores; -inf (and out = 0) for a query that sees no key. May be null.
  float* lse = nullptr;
  const int32_t* cu_seqlens_q = nullptr;  // [sequences + 1]
  const int32_t* cu_seqlens_k = nullptr;  // [sequences + 1]
  // One int32, zero before its first use; every launch leaves it zero.
  // Launches that may overlap must not share it.
  int32_t* tile_counter = nullptr;

  int sequences = 0;
  int total_q = 0, total_k = 0;  // rows of q and of k, v
  int max_seqlen_q = 0;          // longest sequence, or more
  int max_seqlen_k = 0;
  int heads = 0, kv_heads = 0;  // heads is a multiple of kv_heads
  int head_dim = 0;             // 64, 128 or 256
  int64_t q_row_stride = 0, q_head_stride = 0;
  int64_t k_row_stride = 0, k_head_stride = 0;
  int64_t v_row_stride = 0, v_head_stride = 0;
  int64_t out_row_stride = 0, out_head_stride = 0;

  float scale = 0;      // > 0, usually 1 / sqrt(head_dim)
  bool causal = false;  // a query sees keys up to its own position
  // A query at position p sees keys j >= p - window_left; < 0: no bound.
  int window_left = -1;
};

// Enqueues one kernel and returns at once. No allocation, no synchronisation;
// may be captured in a graph. cudaErrorInvalidValue where the arguments break
// the contract above, cudaErrorNotSupported for another head_dim.
cudaError_t Sm90AttentionForward(const Sm90AttentionForwardArgs& args,
                                 cudaStream_t stream);

}  // namespace intarsia
