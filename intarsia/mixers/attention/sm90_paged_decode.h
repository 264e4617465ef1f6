// One-token attention over a paged key/value cache on Hopper: grouped queries,
// split over the keys, bf16 in and out, fp32 inside. Reads each key and value
// once; sm90_paged_decode.cu says how.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace intarsia {

// Sequence b attends from its last position, kv_lengths[b] - 1:
//   s_j   = scale * q . k_j         for the last `window` keys (all if 0)
//   out   = sum_j softmax(s)_j v_j
//   lse   = log sum_j exp(s_j)
// A sequence of length 0 gets out = 0 and lse = -infinity.
//
// Key t of sequence b and head h starts at
//   key_pages + page_table[b, t / page_size] * page_stride
//             + (t % page_size) * token_stride + h * head_stride
// (values likewise), so pages may be [token, head, dim] or [head, token, dim].
// Nothing past a sequence's length is read from the pages, and no entry of the
// page table past its last page.
struct Sm90PagedDecodeArgs {
  const __nv_bfloat16* q = nullptr;  // [batch, query_heads, head_dim]
  const __nv_bfloat16* key_pages = nullptr;
  const __nv_bfloat16* value_pages = nullptr;
  // [batch, page_table_stride]; with `slots`, row slots[b] is that of sequence
  // b.
  const int32_t* page_table = nullptr;
  const int32_t* slots = nullptr;       // [batch] or null
  const int32_t* kv_lengths = nullptr;  // [batch]
  __nv_bfloat16* out = nullptr;         // [batch, query_heads, head_dim]
  float* lse = nullptr;                 // [batch, query_heads] or null
  void* workspace = nullptr;  // Sm90PagedDecodeWorkspaceBytes, 16-byte aligned

  int batch = 0;
  int query_heads = 0;  // a multiple of kv_heads, at most 16 times it
  int kv_heads = 0;
  int head_dim = 0;   // 64 or 128
  int page_size = 0;  // a power of two, at least 16
  int page_table_stride = 0;
  int64_t page_stride = 0;  // in elements, multiples of 8, all three
  int64_t token_stride = 0;
  int64_t head_stride = 0;
  float scale = 0.0f;
  int window = 0;      // 0: all keys
  int max_length = 0;  // at least every kv_lengths[b]; sizes the grid

  // Keys of one block, a multiple of 16; 0 stands for 1024 (2048 if head_dim
  // is 64). The same value gives the same bits for a sequence whatever its
  // neighbours in the batch; a smaller one serves few short sequences faster.
  int keys_per_split = 0;
};

size_t Sm90PagedDecodeWorkspaceBytes(const Sm90PagedDecodeArgs& args);

// Returns cudaErrorInvalidValue for arguments outside the limits above.
cudaError_t LaunchSm90PagedDecode(const Sm90PagedDecodeArgs& args,
                                  cudaStream_t stream);

}  // namespace intarsia
