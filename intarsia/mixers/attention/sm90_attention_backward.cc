#include "intarsia/mixers/attention/sm90_attention_backward.h"

#include "intarsia/mixers/attention/sm90_attention_backward_hd.h"

namespace intarsia {
namespace {

bool Aligned(const void* pointer, int64_t row_stride, int64_t head_stride) {
  return pointer != nullptr && reinterpret_cast<uintptr_t>(pointer) % 16 == 0 &&
         row_stride % 8 == 0 && head_stride % 8 == 0;
}

bool Valid(const Sm90AttentionBackwardArgs& a) {
  const Sm90AttentionForwardArgs& f = a.forward;
  return f.sequences > 0 && f.total_k > 0 && f.heads > 0 && f.kv_heads > 0 &&
         f.heads % f.kv_heads == 0 && f.scale > 0 && f.lse != nullptr &&
         f.cu_seqlens_q != nullptr && f.cu_seqlens_k != nullptr &&
         f.tile_counter != nullptr && a.workspace != nullptr &&
         Aligned(f.q, f.q_row_stride, f.q_head_stride) &&
         Aligned(f.k, f.k_row_stride, f.k_head_stride) &&
         Aligned(f.v, f.v_row_stride, f.v_head_stride) &&
         Aligned(f.out, f.out_row_stride, f.out_head_stride) &&
         Aligned(a.dout, a.dout_row_stride, a.dout_head_stride) &&
         Aligned(a.dq, a.dq_row_stride, a.dq_head_stride) &&
         Aligned(a.dk, a.dk_row_stride, a.dk_head_stride) &&
         Aligned(a.dv, a.dv_row_stride, a.dv_head_stride);
}

}  // namespace

size_t Sm90AttentionBackwardWorkspace(const Sm90AttentionForwardArgs& args) {
  // Blocks of up to 128 queries, see Padding: each sequence may end in a block
  // that is not full.
  constexpr int64_t kLargestBlock = 128;
  const int64_t rows = args.total_q + args.sequences * kLargestBlock;
  const int64_t parts = args.heads > args.kv_heads ? 2 * args.total_k : 0;
  return static_cast<size_t>(args.heads) *
         (rows * (args.head_dim + 2) * sizeof(float) +
          parts * args.head_dim * sizeof(__nv_bfloat16));
}

cudaError_t Sm90AttentionBackward(const Sm90AttentionBackwardArgs& args,
                                  cudaStream_t stream) {
  if (args.forward.sequences == 0 || args.forward.total_q == 0) {
    return cudaErrorInvalidValue;  // dk and dv would stay unwritten
  }
  if (!Valid(args)) return cudaErrorInvalidValue;
  switch (args.forward.head_dim) {
    case 64:
      return sm90::AttentionBackwardHd64(args, stream);
    case 128:
      return sm90::AttentionBackwardHd128(args, stream);
    default:
      return cudaErrorNotSupported;
  }
}

}  // namespace intarsia
