// The recurrence as it is written: a block walks a segment's tokens with a tile
// of one head's state in registers. Plain; right for decode, slow for prefill.
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/common/delta_rule_cuda.h"

namespace intarsia::delta_rule_cuda {
namespace {

constexpr int kColumns = 32;  // value channels of a block
constexpr int kGroups = 8;    // threads that share a column's key channels
constexpr int kMaxKeyDim = 256;
constexpr int kPerThread = kMaxKeyDim / kGroups;

struct Args {
  const float *q, *k, *v;
  const float *erase, *removal, *decay;  // or null
  float* out;
  const int32_t *cu_seqlens, *slots;
  float* pool;            // null: state_in and state_out
  const float* state_in;  // null: zero
  float* state_out;
  int heads, groups, key_dim, value_dim, decay_dim;
  float scale;
  bool before, erase_before;
};

// Adds what the kGroups threads of a column have; all of them get the sum.
__device__ float ColumnSum(float x, float (*partial)[kColumns]) {
  const int lane = threadIdx.x % kColumns;
  __syncthreads();
  partial[threadIdx.x / kColumns][lane] = x;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kGroups; ++i) sum += partial[i][lane];
  return sum;
}

__global__ void Walk(Args p) {
  const int n = blockIdx.z, h = blockIdx.y;
  const int column = blockIdx.x * kColumns + threadIdx.x % kColumns;
  const int part = threadIdx.x / kColumns;
  const int g = h / (p.heads / p.groups);
  const bool inside = column < p.value_dim;
  const int64_t entry = int64_t{p.key_dim} * p.value_dim;
  const bool padding = p.pool && p.slots[n] < 0;
  const int64_t slot = p.pool && !padding ? p.slots[n] : n;
  const int64_t at = (slot * p.heads + h) * entry;
  const auto index = [&](int c) { return int64_t{c} * p.value_dim + column; };
  const float* from = padding  ? nullptr
                      : p.pool ? p.pool + at
                               : (p.state_in ? p.state_in + at : nullptr);
  float state[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int c = part + i * kGroups;
    state[i] = inside && from && c < p.key_dim ? from[index(c)] : 0.0f;
  }
  __shared__ float keys[kMaxKeyDim], queries[kMaxKeyDim], erase[kMaxKeyDim];
  __shared__ float removal[kMaxKeyDim], fade[kMaxKeyDim];
  __shared__ float partial[kGroups][kColumns];
  const auto read = [&] {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int c = part + i * kGroups;
      if (c < p.key_dim) sum = fmaf(queries[c], state[i], sum);
    }
    return ColumnSum(sum, partial);
  };
  for (int t = p.cu_seqlens[n]; t < p.cu_seqlens[n + 1]; ++t) {
    const int64_t own = int64_t{t} * p.heads + h;
    __syncthreads();
    for (int c = threadIdx.x; c < p.key_dim; c += blockDim.x) {
      const int64_t shared = (int64_t{t} * p.groups + g) * p.key_dim + c;
      keys[c] = p.k[shared];
      queries[c] = p.q[shared];
      erase[c] = p.erase ? p.erase[own * p.key_dim + c] : 0.0f;
      removal[c] = p.removal ? p.removal[own * p.key_dim + c] : keys[c];
      fade[c] =
          p.decay ? expf(p.decay[own * p.decay_dim + (p.decay_dim > 1 ? c : 0)])
                  : 1.0f;
    }
    __syncthreads();
    const float value = inside ? p.v[own * p.value_dim + column] : 0.0f;
    float total = 0.0f;
    if (p.before) total = read();
    float erased = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int c = part + i * kGroups;
      if (c < p.key_dim) {
        const float old = state[i];
        state[i] *= fade[c];
        erased = fmaf(erase[c], p.erase_before ? old : state[i], erased);
      }
    }
    if (p.erase) erased = ColumnSum(erased, partial);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int c = part + i * kGroups;
      if (c < p.key_dim) {
        state[i] = fmaf(keys[c], value, state[i]);
        state[i] = fmaf(-removal[c], erased, state[i]);
      }
    }
    if (!p.before) total = read();
    if (part == 0 && inside)
      p.out[own * p.value_dim + column] = p.scale * total;
  }
  float* to = padding ? nullptr : p.pool ? p.pool + at : p.state_out + at;
  if (to == nullptr || !inside) return;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int c = part + i * kGroups;
    if (c < p.key_dim) to[index(c)] = state[i];
  }
}

Tensor Recurrent(Context& ctx, const DeltaRuleInputs& in, Tensor* pool,
                 const Tensor& state_in, Tensor* state_out,
                 const DeltaRuleOptions& options) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.cu_seqlens.defined()) << "the batch is not uploaded";
  if (in.q.dim(2) > kMaxKeyDim) {
    throw EngineError("[delta_rule] " + std::to_string(in.q.dim(2)) +
                      " key channels a head; the kernels take 256");
  }
  Tensor out = Tensor::Empty(in.v.shape(), DType::kF32, in.v.device());
  if (batch.segments() == 0) return out;
  const auto data = [](const Tensor& x) {
    return x.defined() ? x.data<float>() : nullptr;
  };
  const Args args{
      .q = in.q.data<float>(),
      .k = in.k.data<float>(),
      .v = in.v.data<float>(),
      .erase = data(in.erase),
      .removal = data(in.removal),
      .decay = data(in.log_decay),
      .out = out.mutable_data<float>(),
      .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
      .slots = batch.device.slots.data<int32_t>(),
      .pool = pool ? pool->mutable_data<float>() : nullptr,
      .state_in = data(state_in),
      .state_out = state_out ? state_out->mutable_data<float>() : nullptr,
      .heads = static_cast<int>(in.v.dim(1)),
      .groups = static_cast<int>(in.q.dim(1)),
      .key_dim = static_cast<int>(in.q.dim(2)),
      .value_dim = static_cast<int>(in.v.dim(2)),
      .decay_dim =
          in.log_decay.rank() == 3 ? static_cast<int>(in.log_decay.dim(2)) : 1,
      .scale = options.scale,
      .before = options.before,
      .erase_before = options.erase_before};
  const dim3 grid(cuda::Blocks(in.v.dim(2), kColumns),
                  static_cast<unsigned>(in.v.dim(1)),
                  static_cast<unsigned>(batch.segments()));
  Walk<<<grid, kColumns * kGroups, 0, cuda::StreamOf(ctx)>>>(args);
  cuda::CheckLaunch("delta_rule");
  return out;
}

constexpr Kernels kKernels = {.recurrent = Recurrent};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::delta_rule_cuda
