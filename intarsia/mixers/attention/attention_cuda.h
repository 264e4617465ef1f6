// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/attention/attention.h"

namespace intarsia::attention_cuda {

// fp32 or bf16 queries, keys and values of one type; the result has it too.
struct Kernels {
  // As AttentionCore without the tape, over the batch's own keys or pages of
  // kToken growth; no splits over keys. ctx.batch is uploaded.
  AttentionResult (*core)(Context& ctx, const Tensor& q,
                          const AttentionKeys& keys,
                          const AttentionCoreConfig& config,
                          const Weight* sinks);
  // As AppendRows, for pages on the device.
  void (*append)(Context& ctx, const Tensor& rows, TokenPages* pages);
  // Of a decoding step, from the projections [T, heads · head_dim]: rotates
  // queries (*rotated, [T, H, K]) and keys, and appends keys and values. False
  // where the tensors or the batch are not such; nothing is done then.
  bool (*rotate_and_append)(Context& ctx, const Tensor& q, const Tensor& k,
                            const Tensor& v, const RopeConfig& rope,
                            int head_dim, TokenPages* keys, TokenPages* values,
                            Tensor* rotated);
  // fp32, of a call over the batch's own keys: from out, lse and their
  // gradients (d_lse may be undefined) to those of q, k and v.
  std::vector<Tensor> (*gradients)(Context& ctx, const Tensor& q,
                                   const Tensor& k, const Tensor& v,
                                   const AttentionResult& result,
                                   const AttentionCoreConfig& config,
                                   const Tensor& d_out, const Tensor& d_lse);
  // Of the sinks [H].
  Tensor (*sink_gradient)(Context& ctx, const Weight& sinks,
                          const AttentionResult& result, const Tensor& d_out,
                          const Tensor& d_lse);
};
extern const Kernels* kernels;

// attention_append_cuda.cu
bool RotateAndAppend(Context& ctx, const Tensor& q, const Tensor& k,
                     const Tensor& v, const RopeConfig& rope, int head_dim,
                     TokenPages* keys, TokenPages* values, Tensor* rotated);

}  // namespace intarsia::attention_cuda
