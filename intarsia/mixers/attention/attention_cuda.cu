// Plain attention: a block a query row and head, its warps striding over the
// keys with online softmax, merged at the end. Correct for every head size and
// mask; sm90_* beside this file are the fast kernels.
#include <algorithm>
#include <cmath>

#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/attention/attention_cuda.h"
#include "intarsia/mixers/attention/attention_gradients_cuda.h"
#include "intarsia/mixers/attention/sm90_attention_forward.h"
#include "intarsia/mixers/attention/sm90_paged_decode.h"

namespace intarsia::attention_cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMaxDim = 256;
constexpr int kPerLane = kMaxDim / 32;

using cuda::As;
using cuda::Get;

__device__ inline float AsFloat(float x) { return x; }
__device__ inline float AsFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float AsFloat(__half x) { return __half2float(x); }
__device__ inline void Put(float* p, float x) { *p = x; }
__device__ inline void Put(__nv_bfloat16* p, float x) {
  *p = __float2bfloat16_rn(x);
}
__device__ inline void Put(__half* p, float x) { *p = __float2half_rn(x); }

struct Args {
  const void *q, *k, *v;  // k, v: rows of the batch, or pools
  void* out;
  float* lse;
  const int32_t *positions, *segments, *cu_seqlens, *slots;
  const int32_t* table;  // null: keys are rows of the batch
  int table_width, page;
  int heads, kv_heads, key_dim, value_dim;
  float scale, softcap;
  const float* sinks;
  int64_t prefix, window;  // 0: none
  bool causal;
};

// Q: of queries and results; T: of keys and values.
template <typename Q, typename T>
__global__ void Attend(Args a) {
  const int64_t t = blockIdx.x;
  const int h = blockIdx.y;
  const int g = h / (a.heads / a.kv_heads);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int32_t position = a.positions[t];
  const int32_t segment = a.segments[t];
  const int slot = a.slots[segment];
  const bool padding = a.table && slot < 0;  // sees nothing
  const int32_t* pages =
      a.table && !padding ? a.table + int64_t{slot} * a.table_width : nullptr;
  const int64_t first = pages || padding ? 0 : a.cu_seqlens[segment];
  const int64_t last = padding ? 0
                       : pages ? position + 1
                               : a.cu_seqlens[segment + 1];

  float q[kPerLane], acc[kPerLane];
  const Q* query = static_cast<const Q*>(a.q) + (t * a.heads + h) * a.key_dim;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int c = lane + i * 32;
    q[i] = c < a.key_dim ? Get(query[c]) * a.scale : 0.0f;
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
  Q* out = static_cast<Q*>(a.out) + (t * a.heads + h) * int64_t{a.value_dim};
  for (int c = threadIdx.x; c < a.value_dim; c += blockDim.x) {
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) {
      if (tops[w] > -INFINITY) sum += sums[w][c] * expf(tops[w] - all);
    }
    out[c] = As<Q>(denominator > 0.0f ? sum / denominator : 0.0f);
  }
  if (threadIdx.x == 0) {
    a.lse[t * a.heads + h] =
        denominator > 0.0f ? all + logf(denominator) : -INFINITY;
  }
}

template <typename Q, typename T>
__global__ void Append(const Q* rows, T* pool, const int32_t* positions,
                       const int32_t* segments, const int32_t* slots,
                       const int32_t* table, int width, int page,
                       int64_t tokens, int64_t entry) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= tokens * entry) return;
  const int64_t t = i / entry;
  const int64_t e = positions[t];
  if (slots[segments[t]] < 0) return;  // padding
  const int64_t p = table[int64_t{slots[segments[t]]} * width + e / page];
  Put(pool + (p * page + e % page) * entry + i % entry, Get(rows[i]));
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

// One call of the core.
struct CoreArgs {
  const Batch& batch;
  Tensor q, k, v;           // k, v: rows of the batch, or pools
  const TokenPages* pages;  // of the keys; null: rows of the batch
  const AttentionCoreConfig& config;
  const Weight* sinks;
  AttentionResult result;

  int64_t heads() const { return q.dim(1); }
  int64_t kv_heads() const { return k.dim(-2); }
  int64_t key_dim() const { return q.dim(2); }
  int64_t value_dim() const { return v.dim(-1); }
  float scale() const {
    return static_cast<float>(
        config.scale > 0 ? config.scale
                         : 1.0 / std::sqrt(static_cast<double>(key_dim())));
  }
};

using Kind = AttentionMask::Kind;

// What no tuned kernel does.
Status Common(const CoreArgs& a) {
  if (a.q.dtype() != DType::kBF16 || a.k.dtype() != DType::kBF16) {
    return Unsupported("bf16 activations and entries");
  }
  if (a.key_dim() != a.value_dim()) {
    return Unsupported("keys as wide as values");
  }
  if (a.config.softcap > 0) return Unsupported("scores without a cap");
  if (a.sinks != nullptr) return Unsupported("no sinks");
  if (a.config.mask.kind == Kind::kPrefix) return Unsupported("no prefix");
  if (a.config.mask.kind == Kind::kBidirectional && a.config.mask.window > 0) {
    return Unsupported("no window on both sides");
  }
  return Status::Ok();
}

Status SupportsDecode(const CoreArgs& a) {
  RETURN_IF_ERROR(Common(a));
  if (a.pages == nullptr || a.batch.size() != a.batch.segments()) {
    return Unsupported("one token a sequence, over pages");
  }
  for (int64_t n = 0; n < a.batch.segments(); ++n) {
    if (a.batch.length(n) != 1) return Unsupported("one token a sequence");
  }
  if (a.key_dim() != 64 && a.key_dim() != 128) {
    return Unsupported("heads of 64 or 128 channels");
  }
  if (a.heads() / a.kv_heads() > 16) {
    return Unsupported("at most 16 heads a key head");
  }
  if (a.pages->page < 16 || (a.pages->page & (a.pages->page - 1)) != 0) {
    return Unsupported("pages of a power of two of 16 tokens or more");
  }
  return Status::Ok();
}

// The split is fixed by the capacity, so that a recorded graph serves every
// length up to it.
void RunDecode(Context& ctx, CoreArgs& a) {
  const int64_t entry = a.kv_heads() * a.key_dim();
  const int64_t table = a.pages->device_table.dim(1);
  const int64_t capacity = a.batch.kv_capacity();
  const int64_t most = 128 * 1024 / a.key_dim();
  Sm90PagedDecodeArgs args{
      .q = cuda::Bf16(a.q),
      .key_pages = cuda::Bf16(a.k),
      .value_pages = cuda::Bf16(a.v),
      .page_table = a.pages->device_table.data<int32_t>(),
      .slots = a.batch.device.slots.data<int32_t>(),
      .kv_lengths = a.batch.device.kv_lengths.data<int32_t>(),
      .out = cuda::Bf16Out(a.result.out),
      .lse = a.result.lse.mutable_data<float>(),
      .batch = static_cast<int>(a.batch.segments()),
      .query_heads = static_cast<int>(a.heads()),
      .kv_heads = static_cast<int>(a.kv_heads()),
      .head_dim = static_cast<int>(a.key_dim()),
      .page_size = static_cast<int>(a.pages->page),
      .page_table_stride = static_cast<int>(table),
      .page_stride = a.pages->page * entry,
      .token_stride = entry,
      .head_stride = a.key_dim(),
      .scale = a.scale(),
      .window = static_cast<int>(a.config.mask.window),
      .max_length = static_cast<int>(capacity),
      .keys_per_split =
          static_cast<int>(std::clamp<int64_t>(capacity / 16, 128, most))};
  const Tensor workspace = ctx.Workspace(Sm90PagedDecodeWorkspaceBytes(args));
  args.workspace = const_cast<std::byte*>(workspace.raw());
  cuda::Require(LaunchSm90PagedDecode(args, cuda::StreamOf(ctx)), "attention");
}

// Entries of all sequences end to end: out[cu[n] + e] = entry e of segment n,
// eight numbers a thread.
__global__ void GatherEntries(const uint4* pool, const int32_t* table,
                              int width, int page, const int32_t* slots,
                              const int32_t* cu, int segments, uint4* out,
                              int64_t entries, int words) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= entries * words) return;
  const int64_t row = i / words;
  int low = 0, high = segments - 1;  // the last segment that begins by `row`
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (cu[middle] <= row) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int64_t e = row - cu[low];
  const int64_t p = table[int64_t{slots[low]} * width + e / page];
  out[i] = pool[(p * page + e % page) * words + i % words];
}

Tensor Gathered(Context& ctx, const CoreArgs& a, const Tensor& pool,
                int64_t entries) {
  Tensor out = Tensor::Empty({entries, pool.dim(2), pool.dim(3)}, DType::kBF16,
                             pool.device());
  const int words = static_cast<int>(pool.dim(2) * pool.dim(3) / 8);
  GatherEntries<<<cuda::Blocks(entries * words, 256), 256, 0,
                  cuda::StreamOf(ctx)>>>(
      reinterpret_cast<const uint4*>(pool.raw()),
      a.pages->device_table.data<int32_t>(),
      static_cast<int>(a.pages->device_table.dim(1)),
      static_cast<int>(a.pages->page), a.batch.device.slots.data<int32_t>(),
      a.batch.device.cu_kv_lengths.data<int32_t>(),
      static_cast<int>(a.batch.segments()),
      reinterpret_cast<uint4*>(out.mutable_raw()), entries, words);
  cuda::CheckLaunch("attention");
  return out;
}

// [H, T] to [T, H].
__global__ void Transpose(const float* in, float* out, int64_t tokens,
                          int heads) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < tokens * heads) out[i] = in[i % heads * tokens + i / heads];
}

Status SupportsForward(const CoreArgs& a) {
  RETURN_IF_ERROR(Common(a));
  if (a.key_dim() != 64 && a.key_dim() != 128 && a.key_dim() != 256) {
    return Unsupported("heads of 64, 128 or 256 channels");
  }
  const Batch& batch = a.batch;
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const int64_t first = batch.begin(n), length = batch.length(n);
    if (length == 0) continue;
    if (batch.positions[first + length - 1] - batch.positions[first] !=
        length - 1) {
      return Unsupported("rows at consecutive positions");
    }
  }
  return Status::Ok();
}

void RunForward(Context& ctx, CoreArgs& a) {
  const Batch& batch = a.batch;
  int64_t entries = 0, longest = 0;
  bool whole = true;  // every sequence begins in this batch
  for (int64_t n = 0; n < batch.segments(); ++n) {
    if (batch.length(n) == 0) continue;
    const int64_t known = int64_t{batch.positions[batch.begin(n + 1) - 1]} + 1;
    whole = whole && known == batch.length(n);
    entries += known;
    longest = std::max(longest, known);
  }
  const bool gather = a.pages != nullptr && !whole;
  if (a.pages == nullptr) {
    entries = batch.size();
    longest = batch.longest();
  }
  const Tensor k = gather ? Gathered(ctx, a, a.k, entries) : a.k;
  const Tensor v = gather ? Gathered(ctx, a, a.v, entries) : a.v;
  const int64_t tokens = a.q.dim(0);
  Tensor lse = Tensor::Empty({a.heads(), tokens}, DType::kF32, a.q.device());
  Tensor counter = Tensor::Zeros({1}, DType::kI32, a.q.device());
  const int32_t* cu_q = batch.device.cu_seqlens.data<int32_t>();
  const int64_t window = a.config.mask.window;
  const Sm90AttentionForwardArgs args{
      .q = cuda::Bf16(a.q),
      .k = cuda::Bf16(k),
      .v = cuda::Bf16(v),
      .out = cuda::Bf16Out(a.result.out),
      .lse = lse.mutable_data<float>(),
      .cu_seqlens_q = cu_q,
      .cu_seqlens_k =
          gather ? batch.device.cu_kv_lengths.data<int32_t>() : cu_q,
      .tile_counter = counter.mutable_data<int32_t>(),
      .sequences = static_cast<int>(batch.segments()),
      .total_q = static_cast<int>(tokens),
      .total_k = static_cast<int>(entries),
      .max_seqlen_q = static_cast<int>(batch.longest()),
      .max_seqlen_k = static_cast<int>(longest),
      .heads = static_cast<int>(a.heads()),
      .kv_heads = static_cast<int>(a.kv_heads()),
      .head_dim = static_cast<int>(a.key_dim()),
      .q_row_stride = a.heads() * a.key_dim(),
      .q_head_stride = a.key_dim(),
      .k_row_stride = a.kv_heads() * a.key_dim(),
      .k_head_stride = a.key_dim(),
      .v_row_stride = a.kv_heads() * a.key_dim(),
      .v_head_stride = a.key_dim(),
      .out_row_stride = a.heads() * a.key_dim(),
      .out_head_stride = a.key_dim(),
      .scale = a.scale(),
      .causal = a.config.mask.kind != Kind::kBidirectional,
      .window_left = window > 0 ? static_cast<int>(window) - 1 : -1};
  cuda::Require(Sm90AttentionForward(args, cuda::StreamOf(ctx)), "attention");
  Transpose<<<cuda::Blocks(lse.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
      lse.data<float>(), a.result.lse.mutable_data<float>(), tokens,
      static_cast<int>(a.heads()));
  cuda::CheckLaunch("attention");
}

void RunPlain(Context& ctx, CoreArgs& a) {
  CHECK(a.key_dim() <= kMaxDim && a.value_dim() <= kMaxDim)
      << "heads of " << a.key_dim() << " channels";
  const Batch& batch = a.batch;
  const AttentionMask& mask = a.config.mask;
  const Args args{
      .q = a.q.raw(),
      .k = a.k.raw(),
      .v = a.v.raw(),
      .out = a.result.out.mutable_raw(),
      .lse = a.result.lse.mutable_data<float>(),
      .positions = batch.device.positions.data<int32_t>(),
      .segments = batch.device.segment_ids.data<int32_t>(),
      .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
      .slots = batch.device.slots.data<int32_t>(),
      .table = a.pages ? a.pages->device_table.data<int32_t>() : nullptr,
      .table_width =
          a.pages ? static_cast<int>(a.pages->device_table.dim(1)) : 0,
      .page = a.pages ? static_cast<int>(a.pages->page) : 0,
      .heads = static_cast<int>(a.heads()),
      .kv_heads = static_cast<int>(a.kv_heads()),
      .key_dim = static_cast<int>(a.key_dim()),
      .value_dim = static_cast<int>(a.value_dim()),
      .scale = a.scale(),
      .softcap = static_cast<float>(a.config.softcap),
      .sinks = a.sinks ? a.sinks->f32() : nullptr,
      .prefix = mask.kind == Kind::kPrefix ? mask.prefix : 0,
      .window = mask.window,
      .causal = mask.kind != Kind::kBidirectional};
  const dim3 grid(static_cast<unsigned>(a.q.dim(0)),
                  static_cast<unsigned>(a.heads()));
  cuda::DispatchActivations(a.q.dtype(), [&](auto query) {
    using Q = decltype(query);
    DispatchDType(a.k.dtype(), [&](auto number) {
      Attend<Q, decltype(number)>
          <<<grid, kWarps * 32, 0, cuda::StreamOf(ctx)>>>(args);
    });
  });
  cuda::CheckLaunch("attention");
}

constexpr Kernel<CoreArgs> kCore[] = {
    {"sm90_paged_decode", SupportsDecode, RunDecode},
    {"sm90_attention_forward", SupportsForward, RunForward},
    {"plain", [](const CoreArgs&) { return Status::Ok(); }, RunPlain},
};

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
  CoreArgs args{batch,
                query.Contiguous(),
                paged ? keys.k_pages->pool : keys.k.Contiguous(),
                paged ? keys.v_pages->pool : keys.v.Contiguous(),
                keys.k_pages,
                config,
                sinks,
                {}};
  CHECK(args.k.contiguous() && args.v.contiguous());
  // Sequences that begin here are read from the rows that came along.
  if (paged && keys.k.defined() && keys.k.dtype() == args.k.dtype() &&
      batch.size() != batch.segments()) {
    bool whole = true;
    for (int64_t n = 0; n < batch.segments(); ++n) {
      whole = whole &&
              (batch.length(n) == 0 || batch.positions[batch.begin(n)] == 0);
    }
    if (whole) {
      args.k = keys.k.Contiguous();
      args.v = keys.v.Contiguous();
      args.pages = nullptr;
    }
  }
  args.result = {
      Tensor::Empty({query.dim(0), args.heads(), args.value_dim()},
                    query.dtype(), query.device()),
      Tensor::Empty({query.dim(0), args.heads()}, DType::kF32, query.device())};
  if (query.dim(0) > 0) RunFirst(ctx, ctx.report, "attention", kCore, args);
  return args.result;
}

void AppendEntries(Context& ctx, const Tensor& rows, TokenPages* pages) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.positions.defined()) << "the batch is not uploaded";
  CHECK(!pages->positions.defined()) << "selected entries run on the CPU";
  CHECK(rows.contiguous());
  if (rows.numel() == 0) return;
  const int64_t entry = rows.numel() / rows.dim(0);
  cuda::DispatchActivations(rows.dtype(), [&](auto row) {
    using Q = decltype(row);
    DispatchDType(pages->pool.dtype(), [&](auto number) {
      using T = decltype(number);
      Append<Q, T>
          <<<cuda::Blocks(rows.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
              cuda::In<Q>(rows),
              reinterpret_cast<T*>(pages->pool.mutable_raw()),
              batch.device.positions.data<int32_t>(),
              batch.device.segment_ids.data<int32_t>(),
              batch.device.slots.data<int32_t>(),
              pages->device_table.data<int32_t>(),
              static_cast<int>(pages->device_table.dim(1)),
              static_cast<int>(pages->page), rows.dim(0), entry);
    });
  });
  cuda::CheckLaunch("attention");
}

constexpr Kernels kKernels = {.core = Core,
                              .append = AppendEntries,
                              .rotate_and_append = RotateAndAppend,
                              .gradients = Gradients,
                              .sink_gradient = SinkGradient};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::attention_cuda
