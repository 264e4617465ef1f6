// Constant decays through the kernels of retention: bf16 operands, fp32 states.
#include <cmath>

#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/common/gated_linear_retention_cuda.h"
#include "intarsia/mixers/retention/sm90_retention_forward.h"
#include "intarsia/mixers/retention/sm90_state_update.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::gated_linear_cuda {
namespace {

constexpr int kMaxHeads = 256;

// By value, so that a recorded graph carries them.
struct Decays {
  float values[kMaxHeads];
};

__global__ void StoreDecays(const __grid_constant__ Decays decays, float* out,
                            int heads) {
  const int h = static_cast<int>(threadIdx.x);
  if (h < heads) out[h] = decays.values[h];
}

// log_decay [H], or what it is the logarithm of, on the device.
Tensor DecaysOf(Context& ctx, const Tensor& log_decay, bool exponential) {
  Decays decays{};
  const auto heads = static_cast<int>(log_decay.dim(0));
  for (int h = 0; h < heads; ++h) {
    const float a = log_decay.data<float>()[h];
    decays.values[h] = exponential ? std::exp(a) : a;
  }
  Tensor out = Tensor::Empty({heads}, DType::kF32, ctx.device);
  StoreDecays<<<1, kMaxHeads, 0, cuda::StreamOf(ctx)>>>(
      decays, out.mutable_data<float>(), heads);
  cuda::CheckLaunch("retention");
  return out;
}

Status Common(const Call& a) {
  if (a.dtype != DType::kBF16) return Unsupported("bf16 activations");
  if (a.log_decay.rank() != 1) return Unsupported("constant decays");
  if (a.options.value_major || a.q.dim(1) != a.v.dim(1) ||
      a.v.dim(1) > kMaxHeads) {
    return Unsupported("queries and keys for each of at most 256 heads");
  }
  return Status::Ok();
}

// States of the pool by slot to those by segment, or back.
__global__ void MoveStates(float* pool, float* rows, const int32_t* slots,
                           int64_t entry, int64_t n, bool back) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int32_t slot = slots[i / entry];
  if (slot < 0) return;
  float* kept = pool + slot * entry + i % entry;
  if (back) {
    *kept = rows[i];
  } else {
    rows[i] = *kept;
  }
}

}  // namespace

Status SupportsRetentionStep(const Call& a) {
  RETURN_IF_ERROR(Common(a));
  if (a.pool == nullptr || a.batch.size() != a.batch.segments() ||
      a.batch.longest() != 1) {
    return Unsupported("one token a sequence, with state");
  }
  if (a.q.dim(2) > 512 || a.v.dim(2) % 4 != 0) {
    return Unsupported("keys of at most 512 channels, values in fours");
  }
  return Status::Ok();
}

void RunRetentionStep(Context& ctx, Call& a) {
  const Tensor q = Cast(ctx, a.q, DType::kBF16);
  const Tensor k = Cast(ctx, a.k, DType::kBF16);
  const Tensor v = Cast(ctx, a.v, DType::kBF16);
  const Tensor decay = DecaysOf(ctx, a.log_decay, /*exponential=*/true);
  const int64_t heads = v.dim(1), keys = heads * q.dim(2);
  const int64_t values = heads * v.dim(2);
  Tensor out = Tensor::Empty(v.shape(), DType::kBF16, ctx.device);
  cuda::Require(
      LaunchSm90RetentionStep({.state = a.pool->mutable_data<float>(),
                               .slots = a.batch.device.slots.data<int32_t>(),
                               .q = cuda::Bf16(q),
                               .k = cuda::Bf16(k),
                               .v = cuda::Bf16(v),
                               .decay = decay.data<float>(),
                               .out = cuda::Bf16Out(out),
                               .batch = static_cast<int>(v.dim(0)),
                               .heads = static_cast<int>(heads),
                               .key_dim = static_cast<int>(q.dim(2)),
                               .value_dim = static_cast<int>(v.dim(2)),
                               .scale = a.options.scale,
                               .q_stride = keys,
                               .k_stride = keys,
                               .v_stride = values,
                               .out_stride = values,
                               .slot_stride = keys * v.dim(2)},
                              cuda::StreamOf(ctx)),
      "retention");
  a.out = Cast(ctx, out, DType::kF32);
}

Status SupportsRetention(const Call& a) {
  RETURN_IF_ERROR(Common(a));
  for (const int64_t channels : {a.q.dim(2), a.v.dim(2)}) {
    if (channels % 64 != 0 || channels > 512) {
      return Unsupported("heads of 64, 128, ... 512 channels");
    }
  }
  return Status::Ok();
}

void RunRetention(Context& ctx, Call& a) {
  const Tensor q = Cast(ctx, a.q, DType::kBF16);
  const Tensor k = Cast(ctx, a.k, DType::kBF16);
  const Tensor v = Cast(ctx, a.v, DType::kBF16);
  const Tensor decay = DecaysOf(ctx, a.log_decay, /*exponential=*/false);
  const int64_t heads = v.dim(1), key = q.dim(2), value = v.dim(2);
  const int64_t segments = a.batch.segments(), entry = heads * key * value;
  Tensor out = Tensor::Empty(v.shape(), DType::kBF16, ctx.device);
  Tensor states;
  const auto move = [&](bool back) {
    MoveStates<<<cuda::Blocks(segments * entry, 256), 256, 0,
                 cuda::StreamOf(ctx)>>>(
        a.pool->mutable_data<float>(), states.mutable_data<float>(),
        a.batch.device.slots.data<int32_t>(), entry, segments * entry, back);
    cuda::CheckLaunch("retention");
  };
  if (a.pool != nullptr) {
    states = Tensor::Zeros({segments, entry}, DType::kF32, ctx.device);
    move(false);
  }
  Sm90RetentionForwardArgs args{
      .q = cuda::Bf16(q),
      .k = cuda::Bf16(k),
      .v = cuda::Bf16(v),
      .out = cuda::Bf16Out(out),
      .log_decay = decay.data<float>(),
      .cu_seqlens = a.batch.device.cu_seqlens.data<int32_t>(),
      .sequences = static_cast<int>(segments),
      .total = static_cast<int>(v.dim(0)),
      .max_seqlen = static_cast<int>(a.batch.longest()),
      .heads = static_cast<int>(heads),
      .key_dim = static_cast<int>(key),
      .value_dim = static_cast<int>(value),
      .q_row_stride = heads * key,
      .q_head_stride = key,
      .k_row_stride = heads * key,
      .k_head_stride = key,
      .v_row_stride = heads * value,
      .v_head_stride = value,
      .out_row_stride = heads * value,
      .out_head_stride = value,
      .scale = a.options.scale};
  if (states.defined()) {
    args.initial_state = args.final_state = states.mutable_data<float>();
  } else {
    if (a.state_in.defined()) args.initial_state = a.state_in.data<float>();
    if (a.state_out != nullptr) {
      args.final_state = a.state_out->mutable_data<float>();
    }
  }
  const Tensor workspace = ctx.Workspace(Sm90RetentionWorkspace(args));
  args.workspace = const_cast<std::byte*>(workspace.raw());
  cuda::Require(Sm90RetentionForward(args, cuda::StreamOf(ctx)), "retention");
  if (a.pool != nullptr) move(true);
  a.out = Cast(ctx, out, DType::kF32);
}

}  // namespace intarsia::gated_linear_cuda
