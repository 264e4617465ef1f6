// Gradients of the core by tensor cores, where the context asks for products in
// bf16: operands are rounded on the way in, results are fp32.
#include <algorithm>
#include <cmath>

#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/attention/attention_gradients_cuda.h"
#include "intarsia/mixers/attention/sm90_attention_backward.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::attention_cuda {
namespace {

// [T, H] to [H, T].
__global__ void Transpose(const float* in, float* out, int64_t tokens,
                          int heads) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < tokens * heads) out[i] = in[i % tokens * heads + i / tokens];
}

}  // namespace

Status SupportsBackward(const GradientCall& a) {
  if (a.dtype != DType::kBF16) return Unsupported("bf16 products");
  if (a.q.dim(2) != a.v.dim(2) || (a.q.dim(2) != 64 && a.q.dim(2) != 128)) {
    return Unsupported("heads of 64 or 128 channels");
  }
  using Kind = AttentionMask::Kind;
  const AttentionMask& mask = a.config.mask;
  if (a.config.softcap > 0 || mask.kind == Kind::kPrefix ||
      (mask.kind == Kind::kBidirectional && mask.window > 0)) {
    return Unsupported("no cap, no prefix, no window on both sides");
  }
  if (a.d_lse.defined()) return Unsupported("no gradient of the lse");
  for (int64_t n = 0; n < a.batch.segments(); ++n) {
    const int64_t first = a.batch.begin(n), length = a.batch.length(n);
    if (length > 0 &&
        a.batch.positions[first + length - 1] - a.batch.positions[first] !=
            length - 1) {
      return Unsupported("rows at consecutive positions");
    }
  }
  return Status::Ok();
}

void RunBackward(Context& ctx, GradientCall& a) {
  const auto narrow = [&](const Tensor& x) {
    return Cast(ctx, x.Contiguous(), DType::kBF16);
  };
  const auto like = [&](const Tensor& x) {
    return Tensor::Empty(x.shape(), DType::kBF16, ctx.device);
  };
  const Tensor q = narrow(a.q), k = narrow(a.k), v = narrow(a.v);
  const Tensor out = narrow(a.result.out), d_out = narrow(a.d_out);
  Tensor dq = like(q), dk = like(k), dv = like(v);
  const int64_t tokens = q.dim(0), heads = q.dim(1), dim = q.dim(2);
  const int64_t kv_heads = k.dim(1), row = heads * dim, kv_row = kv_heads * dim;
  Tensor lse = Tensor::Empty({heads, tokens}, DType::kF32, ctx.device);
  Transpose<<<cuda::Blocks(lse.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
      a.result.lse.data<float>(), lse.mutable_data<float>(), tokens,
      static_cast<int>(heads));
  cuda::CheckLaunch("attention");
  Tensor counter = Tensor::Zeros({1}, DType::kI32, ctx.device);
  const int32_t* cu = a.batch.device.cu_seqlens.data<int32_t>();
  const auto longest = static_cast<int>(a.batch.longest());
  const int64_t window = a.config.mask.window;
  Sm90AttentionBackwardArgs args{
      .forward =
          {.q = cuda::Bf16(q),
           .k = cuda::Bf16(k),
           .v = cuda::Bf16(v),
           .out = const_cast<__nv_bfloat16*>(cuda::Bf16(out)),
           .lse = lse.mutable_data<float>(),
           .cu_seqlens_q = cu,
           .cu_seqlens_k = cu,
           .tile_counter = counter.mutable_data<int32_t>(),
           .sequences = static_cast<int>(a.batch.segments()),
           .total_q = static_cast<int>(tokens),
           .total_k = static_cast<int>(tokens),
           .max_seqlen_q = longest,
           .max_seqlen_k = longest,
           .heads = static_cast<int>(heads),
           .kv_heads = static_cast<int>(kv_heads),
           .head_dim = static_cast<int>(dim),
           .q_row_stride = row,
           .q_head_stride = dim,
           .k_row_stride = kv_row,
           .k_head_stride = dim,
           .v_row_stride = kv_row,
           .v_head_stride = dim,
           .out_row_stride = row,
           .out_head_stride = dim,
           .scale = static_cast<float>(
               a.config.scale > 0 ? a.config.scale
                                  : 1.0 / std::sqrt(static_cast<double>(dim))),
           .causal = a.config.mask.kind != AttentionMask::Kind::kBidirectional,
           .window_left = window > 0 ? static_cast<int>(window) - 1 : -1},
      .dout = cuda::Bf16(d_out),
      .dq = cuda::Bf16Out(dq),
      .dk = cuda::Bf16Out(dk),
      .dv = cuda::Bf16Out(dv),
      .dout_row_stride = row,
      .dout_head_stride = dim,
      .dq_row_stride = row,
      .dq_head_stride = dim,
      .dk_row_stride = kv_row,
      .dk_head_stride = dim,
      .dv_row_stride = kv_row,
      .dv_head_stride = dim};
  const Tensor workspace =
      ctx.Workspace(Sm90AttentionBackwardWorkspace(args.forward));
  args.workspace = const_cast<std::byte*>(workspace.raw());
  cuda::Require(Sm90AttentionBackward(args, cuda::StreamOf(ctx)), "attention");
  a.gradients = {Cast(ctx, dq, DType::kF32), Cast(ctx, dk, DType::kF32),
                 Cast(ctx, dv, DType::kF32)};
}

}  // namespace intarsia::attention_cuda
