// The recurrence as it is written: a block walks a segment's tokens with a tile
// of one head's state in registers. Plain; right for decode, slow for prefill.
// And the list of this and the tuned ones.
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/common/gated_linear_cuda.h"
#include "intarsia/mixers/common/gated_linear_gradients_cuda.h"
#include "intarsia/mixers/common/gated_linear_retention_cuda.h"

namespace intarsia::gated_linear_cuda {
namespace {

constexpr int kColumns = 32;  // value channels of a block
constexpr int kGroups = 8;    // threads that share a column's key channels
constexpr int kMaxKeyDim = 256;
constexpr int kPerThread = kMaxKeyDim / kGroups;

constexpr int kMaxHeads = 256;

// Constant decays go by value, so that a recorded graph carries them.
struct Constants {
  float values[kMaxHeads];
};

struct Args {
  const float *q, *k, *v;
  const float* a;  // null: the constants
  float* out;
  const int32_t *cu_seqlens, *slots;
  float* pool;            // null: state_in and state_out
  const float* state_in;  // null: zero
  float* state_out;       // null: dropped
  int heads, groups, key_dim, value_dim;
  float scale;
  bool value_major;
};

__global__ void Walk(Args p, Constants constants) {
  const int n = blockIdx.z, h = blockIdx.y;
  const int column = blockIdx.x * kColumns + threadIdx.x % kColumns;
  const int part = threadIdx.x / kColumns;
  const int g = h / (p.heads / p.groups);
  const bool inside = column < p.value_dim;
  const int64_t entry = int64_t{p.key_dim} * p.value_dim;
  const bool padding = p.pool && p.slots[n] < 0;
  const int64_t row = p.pool && !padding ? p.slots[n] : n;
  const int64_t at = (row * p.heads + h) * entry;
  const auto index = [&](int c) {
    return p.value_major ? int64_t{column} * p.key_dim + c
                         : int64_t{c} * p.value_dim + column;
  };
  const float* from = padding  ? nullptr
                      : p.pool ? p.pool + at
                               : (p.state_in ? p.state_in + at : nullptr);
  float state[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int c = part + i * kGroups;
    state[i] = inside && from && c < p.key_dim ? from[index(c)] : 0.0f;
  }
  __shared__ float keys[kMaxKeyDim], queries[kMaxKeyDim];
  __shared__ float partial[kGroups][kColumns];
  for (int t = p.cu_seqlens[n]; t < p.cu_seqlens[n + 1]; ++t) {
    __syncthreads();
    for (int c = threadIdx.x; c < p.key_dim; c += blockDim.x) {
      keys[c] = p.k[(int64_t{t} * p.groups + g) * p.key_dim + c];
      queries[c] = p.q[(int64_t{t} * p.groups + g) * p.key_dim + c];
    }
    __syncthreads();
    const float decay =
        expf(p.a ? p.a[int64_t{t} * p.heads + h] : constants.values[h]);
    const float value =
        inside ? p.v[(int64_t{t} * p.heads + h) * p.value_dim + column] : 0.0f;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int c = part + i * kGroups;
      if (c < p.key_dim) {
        state[i] = fmaf(decay, state[i], keys[c] * value);
        sum = fmaf(queries[c], state[i], sum);
      }
    }
    partial[part][threadIdx.x % kColumns] = sum;
    __syncthreads();
    if (part == 0 && inside) {
      float total = 0.0f;
#pragma unroll
      for (int i = 0; i < kGroups; ++i) total += partial[i][threadIdx.x];
      p.out[(int64_t{t} * p.heads + h) * p.value_dim + column] =
          p.scale * total;
    }
  }
  float* to = padding  ? nullptr
              : p.pool ? p.pool + at
                       : (p.state_out ? p.state_out + at : nullptr);
  if (to == nullptr || !inside) return;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int c = part + i * kGroups;
    if (c < p.key_dim) to[index(c)] = state[i];
  }
}

void RunPlain(Context& ctx, Call& call) {
  const auto& [batch, dtype, q, k, v, log_decay, pool, state_in, state_out,
               options, result] = call;
  CHECK_LE(q.dim(2), kMaxKeyDim);
  const bool constant = log_decay.rank() == 1;
  CHECK_EQ(constant, log_decay.device().is_cpu());
  CHECK(!constant || v.dim(1) <= kMaxHeads) << v.dim(1) << " heads";
  Constants constants{};
  if (constant) {
    std::copy_n(log_decay.data<float>(), v.dim(1), constants.values);
  }
  Tensor out = Tensor::Empty(v.shape(), DType::kF32, v.device());
  const Args args{
      .q = q.data<float>(),
      .k = k.data<float>(),
      .v = v.data<float>(),
      .a = constant ? nullptr : log_decay.data<float>(),
      .out = out.mutable_data<float>(),
      .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
      .slots = batch.device.slots.data<int32_t>(),
      .pool = pool ? pool->mutable_data<float>() : nullptr,
      .state_in = state_in.defined() ? state_in.data<float>() : nullptr,
      .state_out = state_out ? state_out->mutable_data<float>() : nullptr,
      .heads = static_cast<int>(v.dim(1)),
      .groups = static_cast<int>(q.dim(1)),
      .key_dim = static_cast<int>(q.dim(2)),
      .value_dim = static_cast<int>(v.dim(2)),
      .scale = options.scale,
      .value_major = options.value_major};
  const dim3 grid(cuda::Blocks(v.dim(2), kColumns),
                  static_cast<unsigned>(v.dim(1)),
                  static_cast<unsigned>(batch.segments()));
  Walk<<<grid, kColumns * kGroups, 0, cuda::StreamOf(ctx)>>>(args, constants);
  cuda::CheckLaunch("gated_linear");
  call.out = out;
}

constexpr Kernel<Call> kRecurrent[] = {
    {"sm90_retention_step", SupportsRetentionStep, RunRetentionStep},
    {"sm90_retention_forward", SupportsRetention, RunRetention},
    {"plain", [](const Call&) { return Status::Ok(); }, RunPlain},
};

Tensor Recurrent(Context& ctx, const Tensor& q, const Tensor& k,
                 const Tensor& v, const Tensor& log_decay, Tensor* pool,
                 const Tensor& state_in, Tensor* state_out,
                 const GatedLinearOptions& options) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.cu_seqlens.defined()) << "the batch is not uploaded";
  CHECK(q.contiguous() && k.contiguous() && v.contiguous());
  // A tape's gradients are those of fp32.
  Call call{batch,
            ctx.tape != nullptr ? DType::kF32 : ctx.dtype,
            q,
            k,
            v,
            log_decay,
            pool,
            state_in,
            state_out,
            options,
            Tensor::Empty(v.shape(), DType::kF32, v.device())};
  if (v.numel() > 0) {
    RunFirst(ctx, ctx.report, "gated_linear", kRecurrent, call);
  }
  return call.out;
}

constexpr Kernels kKernels = {
    .recurrent = Recurrent, .total_decay = TotalDecay, .gradients = Gradients};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::gated_linear_cuda
