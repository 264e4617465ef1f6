// Rotary position embedding on Hopper, in place on queries and keys at once.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// Pair i < rotary_dim / 2 of a head at position p turns by the angle whose
// cosine and sine stand in row p of the table:
//   (a, b) -> (a cos - b sin, b cos + a sin)
// Pair i is channels (i, i + rotary_dim / 2), or (2i, 2i + 1) if interleaved.
// Channels from rotary_dim on stay as they are. The heads of one token are
// contiguous; tokens are token strides apart, so q and k may be parts of one
// fused projection.
struct Sm90RopeArgs {
  __nv_bfloat16* q = nullptr;          // [tokens, query_heads, head_dim]
  __nv_bfloat16* k = nullptr;          // [tokens, kv_heads, head_dim] or null
  const int32_t* positions = nullptr;  // [tokens]
  // [rows, rotary_dim]: rotary_dim / 2 cosines, then as many sines. Every
  // position has a row.
  const float* cos_sin = nullptr;
  int tokens = 0;
  int query_heads = 0;
  int kv_heads = 0;            // 0 without k
  int head_dim = 0;            // a multiple of 8
  int rotary_dim = 0;          // a multiple of 16, at most head_dim
  int64_t q_token_stride = 0;  // in elements, multiples of 8
  int64_t k_token_stride = 0;
  bool interleaved = false;
  bool inverse = false;  // turn back: the gradient of the rotation
};

// cudaErrorInvalidValue if a limit above does not hold or a pointer is not
// aligned to 16 bytes.
cudaError_t LaunchSm90Rope(const Sm90RopeArgs& args, cudaStream_t stream);

}  // namespace intarsia
