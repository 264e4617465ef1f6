// Mamba-2's state space duality on Hopper, forward, over packed sequences with
// states carried in and out. Dao and Gu 2024, "Transformers are SSMs", eq. 16,
// in the chunked form of section 6. README_hopper.md beside this file says how
// it works and how fast it is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// For token t of a sequence, head h, its group g = h / (heads / groups):
//   d      = clamp(f(dt[t, h] + dt_bias[h]), dt_min, dt_max)
//   S      = exp(d A[h]) S + d x[t, h] B[t, g]^T          S: [P, N]
//   y[t,h] = S C[t, g] + D[h] x[t, h]
// f is softplus, or nothing without `softplus`. d must not be negative. S
// starts as the sequence's initial state (zero without one). bf16 operands,
// fp32 sums, decays and states.
//
// Sequences lie end to end: sequence s has rows cu_seqlens[s] ..
// cu_seqlens[s + 1] - 1. All pointers are device memory; strides count
// elements. x, b, c, y are 16-byte aligned with row strides that are multiples
// of 8, heads and groups contiguous within a row.
struct Sm90SsdForwardArgs {
  const __nv_bfloat16* x = nullptr;  // [tokens, heads, head_dim]
  const float* dt = nullptr;         // [tokens, heads]
  const __nv_bfloat16* b = nullptr;  // [tokens, groups, state_dim]
  const __nv_bfloat16* c = nullptr;  // [tokens, groups, state_dim]
  const float* a = nullptr;          // [heads], negative: -exp(A_log)
  const float* d = nullptr;          // [heads] or null
  const float* dt_bias = nullptr;    // [heads] or null
  __nv_bfloat16* y = nullptr;        // [tokens, heads, head_dim]
  // [sequences, heads, head_dim, state_dim], or null; may be the same memory.
  const float* initial_state = nullptr;
  float* final_state = nullptr;
  // [sequences + 1], ascending from 0 to tokens; null: one sequence.
  const int32_t* cu_seqlens = nullptr;
  // Sm90SsdForwardWorkspace bytes, 16-byte aligned. Needs no initialisation;
  // launches that may overlap must not share it.
  void* workspace = nullptr;

  int sequences = 1;
  int tokens = 0;
  int max_seqlen = 0;  // longest sequence, or more; decides how work is cut
  int heads = 0;       // a multiple of groups
  int groups = 1;
  int head_dim = 64;    // 64
  int state_dim = 128;  // 64 or 128
  int64_t x_stride = 0;
  int64_t dt_stride = 0;
  int64_t b_stride = 0;
  int64_t c_stride = 0;
  int64_t y_stride = 0;
  bool softplus = false;
  float dt_min = 0.0f;
  float dt_max = __builtin_huge_valf();
};

// Bytes of workspace for these sizes (pointers are not read), on the current
// device.
uint64_t Sm90SsdForwardWorkspace(const Sm90SsdForwardArgs& args);

// Enqueues two kernels, or three where few long sequences are cut in segments,
// and returns at once. No allocation, no synchronisation; may be captured in a
// graph. cudaErrorInvalidValue where the arguments break the contract above,
// cudaErrorNotSupported for other head_dim or state_dim.
cudaError_t Sm90SsdForward(const Sm90SsdForwardArgs& args, cudaStream_t stream);

}  // namespace intarsia
