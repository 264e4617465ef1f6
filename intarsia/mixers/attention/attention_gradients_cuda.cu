// Plain gradients of attention in fp32: scores are computed again from the
// log-sum-exp. A block takes a query row and head for dq, or a key row and key
// head for dk and dv, so that every number has one writer.
#include <cmath>

#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/attention/attention_gradients_cuda.h"

namespace intarsia::attention_cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxDim = 256;

struct Args {
  const float *q, *k, *v, *out, *lse, *d_out, *d_lse;  // d_lse may be null
  float *slope, *dq, *dk, *dv;
  const int32_t *positions, *segments, *cu_seqlens;
  int heads, kv_heads, key_dim, value_dim;
  float scale, softcap;
  int64_t prefix, window;
  bool causal;
};

__device__ bool Sees(const Args& a, int64_t query, int64_t key) {
  const bool in_prefix = key < a.prefix;
  if (a.causal && key > query && !in_prefix) return false;
  return a.window == 0 || in_prefix ||
         (query - key < a.window && key - query < a.window);
}

// d_lse − Σ d_out · out of each row: a block a row [T, H].
__global__ void Slopes(Args a) {
  __shared__ float scratch[32];
  const int64_t at = int64_t{blockIdx.x} * a.value_dim;
  float sum = 0.0f;
  for (int c = threadIdx.x; c < a.value_dim; c += kThreads) {
    sum += a.d_out[at + c] * a.out[at + c];
  }
  sum = cuda::BlockSum(sum, scratch);
  if (threadIdx.x == 0) {
    a.slope[blockIdx.x] = (a.d_lse ? a.d_lse[blockIdx.x] : 0.0f) - sum;
  }
}

// The weight of key row e for query row t, head h, and the gradient of the
// score before its cap. By a block; every thread gets both.
__device__ float2 Pair(const Args& a, int64_t t, int h, int64_t e, int g,
                       float* scratch) {
  const float* q = a.q + (t * a.heads + h) * a.key_dim;
  const float* k = a.k + (e * a.kv_heads + g) * a.key_dim;
  const float* d = a.d_out + (t * a.heads + h) * a.value_dim;
  const float* v = a.v + (e * a.kv_heads + g) * a.value_dim;
  float score = 0.0f, along = 0.0f;
  for (int c = threadIdx.x; c < a.key_dim; c += kThreads) score += q[c] * k[c];
  for (int c = threadIdx.x; c < a.value_dim; c += kThreads)
    along += d[c] * v[c];
  score = cuda::BlockSum(score, scratch) * a.scale;
  along = cuda::BlockSum(along, scratch);
  float steep = 1.0f;
  if (a.softcap > 0.0f) {
    const float part = tanhf(score / a.softcap);
    score = a.softcap * part;
    steep = 1.0f - part * part;
  }
  const int64_t row = t * a.heads + h;
  const float p = expf(score - a.lse[row]);
  return {p, p * (along + a.slope[row]) * steep * a.scale};
}

__global__ void Queries(Args a) {
  __shared__ float scratch[32];
  const int64_t t = blockIdx.x;
  const int h = blockIdx.y, g = h / (a.heads / a.kv_heads);
  const int32_t segment = a.segments[t];
  float sums[kMaxDim / kThreads] = {};
  for (int64_t e = a.cu_seqlens[segment]; e < a.cu_seqlens[segment + 1]; ++e) {
    if (!Sees(a, a.positions[t], a.positions[e])) continue;
    const float2 pair = Pair(a, t, h, e, g, scratch);
    const float* k = a.k + (e * a.kv_heads + g) * a.key_dim;
#pragma unroll
    for (int i = 0; i < kMaxDim / kThreads; ++i) {
      const int c = threadIdx.x + i * kThreads;
      if (c < a.key_dim) sums[i] += pair.y * k[c];
    }
  }
  for (int i = 0; i < kMaxDim / kThreads; ++i) {
    const int c = threadIdx.x + i * kThreads;
    if (c < a.key_dim) a.dq[(t * a.heads + h) * a.key_dim + c] = sums[i];
  }
}

__global__ void Keys(Args a) {
  __shared__ float scratch[32];
  const int64_t e = blockIdx.x;
  const int g = blockIdx.y, group = a.heads / a.kv_heads;
  const int32_t segment = a.segments[e];
  float dk[kMaxDim / kThreads] = {}, dv[kMaxDim / kThreads] = {};
  for (int64_t t = a.cu_seqlens[segment]; t < a.cu_seqlens[segment + 1]; ++t) {
    if (!Sees(a, a.positions[t], a.positions[e])) continue;
    for (int h = g * group; h < (g + 1) * group; ++h) {
      const float2 pair = Pair(a, t, h, e, g, scratch);
      const float* q = a.q + (t * a.heads + h) * a.key_dim;
      const float* d = a.d_out + (t * a.heads + h) * a.value_dim;
#pragma unroll
      for (int i = 0; i < kMaxDim / kThreads; ++i) {
        const int c = threadIdx.x + i * kThreads;
        if (c < a.key_dim) dk[i] += pair.y * q[c];
        if (c < a.value_dim) dv[i] += pair.x * d[c];
      }
    }
  }
  for (int i = 0; i < kMaxDim / kThreads; ++i) {
    const int c = threadIdx.x + i * kThreads;
    if (c < a.key_dim) a.dk[(e * a.kv_heads + g) * a.key_dim + c] = dk[i];
    if (c < a.value_dim) a.dv[(e * a.kv_heads + g) * a.value_dim + c] = dv[i];
  }
}

// A sink is a score whose value is zero: Σ_t exp(sink − lse) · slope.
__global__ void Sinks(const float* sinks, const float* lse, const float* slope,
                      float* out, int64_t tokens, int heads) {
  __shared__ float scratch[32];
  const int h = blockIdx.x;
  float sum = 0.0f;
  for (int64_t t = threadIdx.x; t < tokens; t += kThreads) {
    sum += expf(sinks[h] - lse[t * heads + h]) * slope[t * heads + h];
  }
  sum = cuda::BlockSum(sum, scratch);
  if (threadIdx.x == 0) out[h] = sum;
}

Tensor SlopesOf(Context& ctx, const AttentionResult& result,
                const Tensor& d_out, const Tensor& d_lse) {
  Tensor slope = Tensor::Empty(result.lse.shape(), DType::kF32, ctx.device);
  Args a{};
  a.out = result.out.data<float>();
  a.d_out = d_out.data<float>();
  a.d_lse = d_lse.defined() ? d_lse.data<float>() : nullptr;
  a.slope = slope.mutable_data<float>();
  a.value_dim = static_cast<int>(result.out.dim(2));
  Slopes<<<static_cast<unsigned>(slope.numel()), kThreads, 0,
           cuda::StreamOf(ctx)>>>(a);
  cuda::CheckLaunch("attention");
  return slope;
}

void RunPlain(Context& ctx, GradientCall& call) {
  const Tensor &q = call.q, &k = call.k, &v = call.v;
  const Tensor &d_out = call.d_out, &d_lse = call.d_lse;
  const AttentionResult& result = call.result;
  const AttentionCoreConfig& config = call.config;
  std::vector<Tensor>& out = call.gradients;
  const int64_t heads = q.dim(1), kv_heads = k.dim(1);
  CHECK(q.dim(2) <= kMaxDim && v.dim(2) <= kMaxDim);
  Tensor slope = SlopesOf(ctx, result, d_out, d_lse);
  const Batch::OnDevice& batch = ctx.batch->device;
  using Kind = AttentionMask::Kind;
  const Args args{
      .q = q.data<float>(),
      .k = k.data<float>(),
      .v = v.data<float>(),
      .out = result.out.data<float>(),
      .lse = result.lse.data<float>(),
      .d_out = d_out.data<float>(),
      .d_lse = nullptr,
      .slope = slope.mutable_data<float>(),
      .dq = out[0].mutable_data<float>(),
      .dk = out[1].mutable_data<float>(),
      .dv = out[2].mutable_data<float>(),
      .positions = batch.positions.data<int32_t>(),
      .segments = batch.segment_ids.data<int32_t>(),
      .cu_seqlens = batch.cu_seqlens.data<int32_t>(),
      .heads = static_cast<int>(heads),
      .kv_heads = static_cast<int>(kv_heads),
      .key_dim = static_cast<int>(q.dim(2)),
      .value_dim = static_cast<int>(v.dim(2)),
      .scale = static_cast<float>(
          config.scale > 0 ? config.scale
                           : 1.0 / std::sqrt(static_cast<double>(q.dim(2)))),
      .softcap = static_cast<float>(config.softcap),
      .prefix = config.mask.kind == Kind::kPrefix ? config.mask.prefix : 0,
      .window = config.mask.window,
      .causal = config.mask.kind != Kind::kBidirectional};
  const auto rows = static_cast<unsigned>(q.dim(0));
  Queries<<<dim3(rows, static_cast<unsigned>(heads)), kThreads, 0,
            cuda::StreamOf(ctx)>>>(args);
  Keys<<<dim3(rows, static_cast<unsigned>(kv_heads)), kThreads, 0,
         cuda::StreamOf(ctx)>>>(args);
  cuda::CheckLaunch("attention");
}

constexpr Kernel<GradientCall> kGradients[] = {
    {"sm90_attention_backward", SupportsBackward, RunBackward},
    {"plain", [](const GradientCall&) { return Status::Ok(); }, RunPlain},
};

}  // namespace

std::vector<Tensor> Gradients(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const AttentionResult& result,
                              const AttentionCoreConfig& config,
                              const Tensor& d_out, const Tensor& d_lse) {
  const auto like = [&](const Tensor& x) {
    return Tensor::Empty(x.shape(), DType::kF32, ctx.device);
  };
  GradientCall call{*ctx.batch, ctx.dtype, q,     k,     v,
                    result,     config,    d_out, d_lse, {}};
  call.gradients = {like(q), like(k), like(v)};
  if (q.dim(0) == 0) return call.gradients;
  RunFirst(ctx, ctx.report, "attention gradients", kGradients, call);
  return call.gradients;
}

Tensor SinkGradient(Context& ctx, const Weight& sinks,
                    const AttentionResult& result, const Tensor& d_out,
                    const Tensor& d_lse) {
  const int64_t heads = result.out.dim(1);
  Tensor out = Tensor::Zeros({heads}, DType::kF32, ctx.device);
  if (result.out.dim(0) == 0) return out;
  const Tensor slope = SlopesOf(ctx, result, d_out, d_lse);
  Sinks<<<static_cast<unsigned>(heads), kThreads, 0, cuda::StreamOf(ctx)>>>(
      sinks.f32(), result.lse.data<float>(), slope.data<float>(),
      out.mutable_data<float>(), result.out.dim(0), static_cast<int>(heads));
  cuda::CheckLaunch("attention");
  return out;
}

}  // namespace intarsia::attention_cuda
