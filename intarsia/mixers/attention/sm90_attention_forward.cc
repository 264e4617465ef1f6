#include "intarsia/mixers/attention/sm90_attention_forward.h"

#include "intarsia/mixers/attention/sm90_attention_forward_hd.h"

namespace intarsia {
namespace {

bool Aligned(const void* pointer, int64_t row_stride, int64_t head_stride) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 &&
         row_stride % 8 == 0 && head_stride % 8 == 0;
}

bool Valid(const Sm90AttentionForwardArgs& a) {
  return a.sequences >= 0 && a.total_q >= 0 && a.total_k > 0 && a.heads > 0 &&
         a.kv_heads > 0 && a.heads % a.kv_heads == 0 && a.scale > 0 &&
         a.q != nullptr && a.k != nullptr && a.v != nullptr &&
         a.out != nullptr && a.cu_seqlens_q != nullptr &&
         a.cu_seqlens_k != nullptr && a.tile_counter != nullptr &&
         Aligned(a.q, a.q_row_stride, a.q_head_stride) &&
         Aligned(a.k, a.k_row_stride, a.k_head_stride) &&
         Aligned(a.v, a.v_row_stride, a.v_head_stride) &&
         Aligned(a.out, a.out_row_stride, a.out_head_stride);
}

}  // namespace

cudaError_t Sm90AttentionForward(const Sm90AttentionForwardArgs& args,
                                 cudaStream_t stream) {
  if (args.sequences == 0 || args.total_q == 0) return cudaSuccess;
  if (!Valid(args)) return cudaErrorInvalidValue;
  switch (args.head_dim) {
    case 64:
      return sm90::AttentionForwardHd64(args, stream);
    case 128:
      return sm90::AttentionForwardHd128(args, stream);
    case 256:
      return sm90::AttentionForwardHd256(args, stream);
    default:
      return cudaErrorNotSupported;
  }
}

}  // namespace intarsia
