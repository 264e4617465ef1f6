// Decoding with multi-head latent attention on Hopper, absorbed form: all heads
// share one latent vector a token, whose first 512 channels are key and value,
// whose last 64 (rotated) are key only. bf16 in and out, fp32 inside; the
// latents lie in pages. sm90_mla_decode.cu says how.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace intarsia {

inline constexpr int kMlaKeyChannels = 576;
inline constexpr int kMlaValueChannels = 512;

// The query_tokens last tokens of sequence b, which the kv_lengths[b] latents
// include, attend causally: token i sees the first n_i = kv_lengths[b] -
// query_tokens + 1 + i latents c_j.
//   s_j = scale * q . c_j                  over 576 channels
//   out = sum_j softmax(s)_j c_j           over 512 channels
//   lse = log sum_j exp(s_j)
// A token that sees nothing gets out = 0 and lse = -infinity.
//
// Latent t of sequence b starts at
//   pages + page_table[b, t / page_size] * page_stride
//         + (t % page_size) * token_stride
// No entry of the page table past a sequence's last page is read; what a page
// holds past the sequence's length changes nothing, NaN included.
struct Sm90MlaDecodeArgs {
  const __nv_bfloat16* q = nullptr;  // [batch, query_tokens, heads, 576]
  const __nv_bfloat16* pages = nullptr;
  const int32_t* page_table = nullptr;  // [batch, page_table_stride]
  const int32_t* kv_lengths = nullptr;  // [batch]
  __nv_bfloat16* out = nullptr;         // [batch, query_tokens, heads, 512]
  float* lse = nullptr;                 // [batch, query_tokens, heads] or null
  void* plan = nullptr;       // Sm90MlaDecodePlanBytes, 16-byte aligned
  void* workspace = nullptr;  // Sm90MlaDecodeWorkspaceBytes, 16-byte aligned

  int batch = 0;
  int query_tokens = 1;
  int heads = 0;  // query_tokens x heads is at most 8192
  int page_count = 0;
  int page_size = 0;  // a power of two, at least 16
  int page_table_stride = 0;
  int64_t page_stride = 0;   // in elements, a multiple of 8
  int64_t token_stride = 0;  // likewise, at least 576
  float scale = 0.0f;
  int max_length = 0;  // at least every kv_lengths[b]
};

size_t Sm90MlaDecodePlanBytes(const Sm90MlaDecodeArgs& args);
size_t Sm90MlaDecodeWorkspaceBytes(const Sm90MlaDecodeArgs& args);

// Shares the work of these lengths out and writes the plan: once a step, for
// all layers. Reads kv_lengths, batch, query_tokens, heads and max_length,
// which the decoding that follows must find unchanged. Both return
// cudaErrorInvalidValue for arguments outside the limits above.
cudaError_t LaunchSm90MlaDecodePlan(const Sm90MlaDecodeArgs& args,
                                    cudaStream_t stream);

// The last bits of a sequence's result depend on where the plan cuts it, and so
// on the other lengths of the batch; the same arguments on the same kind of
// device give the same bits.
cudaError_t LaunchSm90MlaDecode(const Sm90MlaDecodeArgs& args,
                                cudaStream_t stream);

}  // namespace intarsia
