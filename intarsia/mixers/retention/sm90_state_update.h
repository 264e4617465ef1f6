// One decoding step of retention on Hopper, in place on the state pool.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// For row b of the batch and head h (README.md, recurrent form):
//   S   = decay[h] S + k[b, h]^T v[b, h]     S: state[slot] [K, V]
//   out = scale * q[b, h] S
// A row with a negative slot is padding: its output is zero, no state changes.
struct Sm90RetentionStepArgs {
  float* state = nullptr;            // [slots, heads, key_dim, value_dim]
  const int32_t* slots = nullptr;    // [batch], all different; null: 0, 1, ...
  const __nv_bfloat16* q = nullptr;  // [batch, heads, key_dim]
  const __nv_bfloat16* k = nullptr;  // [batch, heads, key_dim]
  const __nv_bfloat16* v = nullptr;  // [batch, heads, value_dim]
  const float* decay = nullptr;      // [heads]
  __nv_bfloat16* out = nullptr;      // [batch, heads, value_dim]
  int batch = 0;
  int heads = 0;
  int key_dim = 0;    // K, at most 512
  int value_dim = 0;  // V, a multiple of 4
  float scale = 1.0f;
  // Between rows of the batch, in elements; those of v and out are multiples
  // of 4.
  int64_t q_stride = 0;
  int64_t k_stride = 0;
  int64_t v_stride = 0;
  int64_t out_stride = 0;
  int64_t slot_stride = 0;  // between states, a multiple of 4
};

// cudaErrorInvalidValue if a limit above does not hold, the state is not
// aligned to 16 bytes, or v or out to 8.
cudaError_t LaunchSm90RetentionStep(const Sm90RetentionStepArgs& args,
                                    cudaStream_t stream);

}  // namespace intarsia
