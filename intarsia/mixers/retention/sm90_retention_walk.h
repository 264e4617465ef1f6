// The one computation behind retention and its gradients: a walk along each
// sequence, in either direction, that keeps a matrix of inner x width numbers.
// With the decay g of a head, walking forward,
//   S = g S + write_scale k_n^T v_n,  out_n = read_scale q_n S
// and backward, where S is the gradient of the state behind token n,
//   Y = S + write_scale k_n^T v_n,    out_n = read_scale q_n Y,  S = g Y
// so that S ends as the gradient of the state that came in.
//
//   result   q   k   v   inner  width  direction
//   out      q   k   v   K      V      forward
//   dq       do  v   k   V      K      forward
//   dk       v   do  q   V      K      backward
//   dv       k   q   do  K      V      backward
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace intarsia::sm90 {

struct RetentionTensor {
  const __nv_bfloat16* data = nullptr;  // [total, heads, columns]
  int64_t row_stride = 0, head_stride = 0;
};

struct RetentionWalkArgs {
  RetentionTensor q, k;                  // inner columns
  RetentionTensor v;                     // width columns
  RetentionTensor out;                   // width columns, written
  const float* log_decay = nullptr;      // [heads]
  const float* initial_state = nullptr;  // [sequences, heads, ...] or null: 0
  float* final_state = nullptr;          // or null
  // Where element (inner i, width j) of a head's state lies.
  int64_t state_inner_stride = 0, state_width_stride = 0;
  const int32_t* cu_seqlens = nullptr;
  int sequences = 0, total = 0, max_seqlen = 0, heads = 0;
  int inner = 0, width = 0;
  float read_scale = 1, write_scale = 1;
  bool reverse = false;
  float* workspace = nullptr;  // RetentionWalkWorkspace bytes
};

// Bytes; reads the sizes alone.
size_t RetentionWalkWorkspace(const RetentionWalkArgs& args, int processors);

// One kernel, or two where long sequences are cut into segments to occupy the
// device. cudaErrorNotSupported for sizes that are no multiples of 64 up to
// 512.
cudaError_t RetentionWalk(const RetentionWalkArgs& args, cudaStream_t stream);

// Of the current device.
cudaError_t Processors(int* count);

}  // namespace intarsia::sm90
