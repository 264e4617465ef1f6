// Plain attention: a block a query row and head, its warps striding over the
// keys with online softmax, merged at the end. Correct for every head size and
// mask; sm90_* beside this file are the fast kernels.
#include <cmath>

#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/attention/attention_cuda.h"

namespace intarsia::attention_cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMaxDim = 256;
constexpr int kPerLane = kMaxDim / 32;

__device__ inline float AsFloat(float x) { return x; }
__device__ inline float AsFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float AsFloat(__half x) { return __half2float(x); }
__device__ inline void Put(float* p, float x) { *p = x; }
__device__ inline void Put(__nv_bfloat16* p, float x) {
  *p = __float2bfloat16_rn(x);
}
__device__ inline void Put(__half* p, float x) { *p = __float2half_rn(x); }

struct Args {
  const float* q;
  const void *k, *v;  // rows of the batch, or pools
  float *out, *lse;
  const int32_t *positions, *segments, *cu_seqlens, *slots;
  const int32_t* table;  // null: keys are rows of the batch
  int table_width, page;
  int heads, kv_heads, key_dim, value_dim;
  float scale, softcap;
  const float* sinks;
  int64_t prefix, window;  // 0: none
  bool causal;
};

template <typename T>
__global__ void Attend(Args a) {
  const int64_t t = blockIdx.x;
  const int h = blockIdx.y;
  const int g = h / (a.heads / a.kv_heads);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int32_t position = a.positions[t];
  const int32_t segment = a.segments[t];
  const int32_t* pages =
      a.table ? a.table + int64_t{a.slots[segment]} * a.table_width : nullptr;
  const int64_t first = pages ? 0 : a.cu_seqlens[segment];
  const int64_t last = pages ? position + 1 : a.cu_seqlens[segment + 1];

  float q[kPerLane], acc[kPerLane];
  const float* query = a.q + (t * a.heads + h) * a.key_dim;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int c = lane + i * 32;
    q[i] = c < a.key_dim ? query[c] * a.scale : 0.0f;
    acc[i] = 0.0f;
  }
  float top = -INFINITY, total = 0.0f;
  for (int64_t e = first + warp; e < last; e += kWarps) {
    const int64_t at = pages ? e : a.positions[e];
    const bool in_prefix = at < a.prefix;
    if (a.causal && at > position && !in_prefix) continue;
    if (a.window > 0 && !in_prefix &&
        (position - at >= a.window || at - position >= a.window)) {
      continue;
    }
    const int64_t row =
        pages ? int64_t{pages[e / a.page]} * a.page + e % a.page : e;
    const T* key = static_cast<const T*>(a.k) +
                   (row * a.kv_heads + g) * int64_t{a.key_dim};
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int c = lane + i * 32;
      if (c < a.key_dim) score = fmaf(q[i], AsFloat(key[c]), score);
    }
    score = cuda::WarpSum(score);
    if (a.softcap > 0.0f) score = a.softcap * tanhf(score / a.softcap);
    const float next = fmaxf(top, score);
    const float keep = expf(top - next), weight = expf(score - next);
    top = next;
    total = total * keep + weight;
    const T* value = static_cast<const T*>(a.v) +
                     (row * a.kv_heads + g) * int64_t{a.value_dim};
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int c = lane + i * 32;
      if (c < a.value_dim) {
        acc[i] = acc[i] * keep + weight * AsFloat(value[c]);
      }
    }
  }

  __shared__ float tops[kWarps], totals[kWarps], sums[kWarps][kMaxDim];
  if (lane == 0) {
    tops[warp] = top;
    totals[warp] = total;
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) sums[warp][lane + i * 32] = acc[i];
  __syncthreads();
  float all = a.sinks ? a.sinks[h] : -INFINITY;
  for (int w = 0; w < kWarps; ++w) all = fmaxf(all, tops[w]);
  float denominator =
      a.sinks && all > -INFINITY ? expf(a.sinks[h] - all) : 0.0f;
  for (int w = 0; w < kWarps; ++w) {
    if (tops[w] > -INFINITY) denominator += totals[w] * expf(tops[w] - all);
  }
  float* out = a.out + (t * a.heads + h) * int64_t{a.value_dim};
  for (int c = threadIdx.x; c < a.value_dim; c += blockDim.x) {
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) {
      if (tops[w] > -INFINITY) sum += sums[w][c] * expf(tops[w] - all);
    }
    out[c] = denominator > 0.0f ? sum / denominator : 0.0f;
  }
  if (threadIdx.x == 0) {
    a.lse[t * a.heads + h] =
        denominator > 0.0f ? all + logf(denominator) : -INFINITY;
  }
}

template <typename T>
__global__ void Append(const float* rows, T* pool, const int32_t* positions,
                       const int32_t* segments, const int32_t* slots,
                       const int32_t* table, int width, int page,
                       int64_t tokens, int64_t entry) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= tokens * entry) return;
  const int64_t t = i / entry;
  const int64_t e = positions[t];
  const int64_t p = table[int64_t{slots[segments[t]]} * width + e / page];
  Put(pool + (p * page + e % page) * entry + i % entry, rows[i]);
}

template <typename Fn>
void DispatchDType(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kF32:
      return fn(float());
    case DType::kBF16:
      return fn(__nv_bfloat16());
    case DType::kF16:
      return fn(__half());
    default:
      throw EngineError("[attention] no kernels for entries of another dtype");
  }
}

AttentionResult Core(Context& ctx, const Tensor& query,
                     const AttentionKeys& keys,
                     const AttentionCoreConfig& config, const Weight* sinks) {
  const Batch& batch = *ctx.batch;
  const bool paged = keys.k_pages != nullptr;
  CHECK(batch.device.positions.defined()) << "the batch is not uploaded";
  CHECK(keys.batch == nullptr && keys.begin == 0)
      << "splits over keys run on the CPU";
  CHECK(!paged || !keys.k_pages->positions.defined())
      << "selected entries run on the CPU";
  const Tensor q = query.Contiguous();
  const Tensor k = paged ? keys.k_pages->pool : keys.k;
  const Tensor v = paged ? keys.v_pages->pool : keys.v;
  CHECK(k.contiguous() && v.contiguous());
  const int64_t heads = q.dim(1), key_dim = q.dim(2), value_dim = v.dim(-1);
  CHECK(key_dim <= kMaxDim && value_dim <= kMaxDim)
      << "heads of " << key_dim << " channels";
  AttentionResult result{
      Tensor::Empty({q.dim(0), heads, value_dim}, DType::kF32, q.device()),
      Tensor::Empty({q.dim(0), heads}, DType::kF32, q.device())};
  if (q.dim(0) == 0) return result;
  using Kind = AttentionMask::Kind;
  const Args args{
      .q = q.data<float>(),
      .k = k.raw(),
      .v = v.raw(),
      .out = result.out.mutable_data<float>(),
      .lse = result.lse.mutable_data<float>(),
      .positions = batch.device.positions.data<int32_t>(),
      .segments = batch.device.segment_ids.data<int32_t>(),
      .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
      .slots = batch.device.slots.data<int32_t>(),
      .table = paged ? keys.k_pages->device_table.data<int32_t>() : nullptr,
      .table_width =
          paged ? static_cast<int>(keys.k_pages->device_table.dim(1)) : 0,
      .page = paged ? static_cast<int>(keys.k_pages->page) : 0,
      .heads = static_cast<int>(heads),
      .kv_heads = static_cast<int>(k.dim(-2)),
      .key_dim = static_cast<int>(key_dim),
      .value_dim = static_cast<int>(value_dim),
      .scale = static_cast<float>(
          config.scale > 0 ? config.scale
                           : 1.0 / std::sqrt(static_cast<double>(key_dim))),
      .softcap = static_cast<float>(config.softcap),
      .sinks = sinks ? sinks->f32() : nullptr,
      .prefix = config.mask.kind == Kind::kPrefix ? config.mask.prefix : 0,
      .window = config.mask.window,
      .causal = config.mask.kind != Kind::kBidirectional};
  const dim3 grid(static_cast<unsigned>(q.dim(0)),
                  static_cast<unsigned>(heads));
  DispatchDType(k.dtype(), [&](auto number) {
    Attend<decltype(number)>
        <<<grid, kWarps * 32, 0, cuda::StreamOf(ctx)>>>(args);
  });
  cuda::CheckLaunch("attention");
  return result;
}

void AppendEntries(Context& ctx, const Tensor& rows, TokenPages* pages) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.positions.defined()) << "the batch is not uploaded";
  CHECK(!pages->positions.defined()) << "selected entries run on the CPU";
  CHECK(rows.contiguous());
  if (rows.numel() == 0) return;
  const int64_t entry = rows.numel() / rows.dim(0);
  DispatchDType(pages->pool.dtype(), [&](auto number) {
    using T = decltype(number);
    Append<T><<<cuda::Blocks(rows.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
        rows.data<float>(), reinterpret_cast<T*>(pages->pool.mutable_raw()),
        batch.device.positions.data<int32_t>(),
        batch.device.segment_ids.data<int32_t>(),
        batch.device.slots.data<int32_t>(), pages->device_table.data<int32_t>(),
        static_cast<int>(pages->device_table.dim(1)),
        static_cast<int>(pages->page), rows.dim(0), entry);
  });
  cuda::CheckLaunch("attention");
}

constexpr Kernels kKernels = {.core = Core, .append = AppendEntries};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::attention_cuda
