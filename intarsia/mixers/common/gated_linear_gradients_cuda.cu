// Plain gradients of the recurrence in fp32. With S_t the state after token t
// and G_t its gradient,
//
//   G_t = scale q_tᵀ dO_t + exp(a_{t+1}) G_{t+1}
//   dq_t = scale S_t dO_t    dk_t = G_t v_t    dv_t = G_tᵀ k_t
//
// are three walks of one kind: a matrix fades, is read, and takes a product of
// two rows. Each walk reads before it adds; what a token gives itself is added
// in the end, where it cancels out of the gradient of the decays:
//
//   dc_t = q_t · dq_t − k_t · dk_t    da_t = Σ_{n ≥ t} dc_n + ⟨S, dS⟩ of the
//   end
//
// Every number has one writer and every sum one order.
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/common/gated_linear_gradients_cuda.h"

namespace intarsia::gated_linear_cuda {
namespace {

constexpr int kColumns = 32;    // of the matrix, a block
constexpr int kParts = 8;       // threads that share a column
constexpr int kPerThread = 32;  // rows of a column a thread
constexpr int kDepth = kParts * kPerThread;
constexpr int kThreads = 128;  // of the other kernels

// Rows [T, heads, dim].
struct Rows {
  const float* data;
  int heads;
};

struct WalkArgs {
  Rows query, key, value;  // of depth, depth and width channels
  const float* a;          // row t, head h at a[t · a_stride + h]
  int64_t a_stride;
  float* out;           // [T, H, width]
  const float* before;  // [N, H, ...] matrices before the walk; null: zero
  float* after;         // null: dropped
  int64_t row_stride, column_stride;  // of those matrices
  const int32_t* cu_seqlens;
  int heads, depth, width;
  int first;  // this launch takes rows [first, first + kDepth), later ones
              // add to out
  float key_scale, out_scale;
  bool reverse;
};

__global__ void Walk(WalkArgs p) {
  const int n = blockIdx.z, h = blockIdx.y;
  const int column = blockIdx.x * kColumns + threadIdx.x % kColumns;
  const int part = threadIdx.x / kColumns;
  const bool inside = column < p.width;
  const int rows = min(kDepth, p.depth - p.first);
  const int64_t matrix = (int64_t{n} * p.heads + h) * p.depth * p.width;
  const auto index = [&](int c) {
    return matrix + (p.first + c) * p.row_stride + column * p.column_stride;
  };
  // Heads of a group share a row.
  const auto row = [&](const Rows& x, int t, int dim) {
    return x.data + (int64_t{t} * x.heads + h / (p.heads / x.heads)) * dim;
  };
  float state[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int c = part + i * kParts;
    state[i] = inside && p.before && c < rows ? p.before[index(c)] : 0.0f;
  }
  __shared__ float keys[kDepth], queries[kDepth];
  __shared__ float partial[kParts][kColumns];
  const int begin = p.cu_seqlens[n], end = p.cu_seqlens[n + 1];
  for (int step = 0; step < end - begin; ++step) {
    const int t = p.reverse ? end - 1 - step : begin + step;
    __syncthreads();
    for (int c = threadIdx.x; c < rows; c += blockDim.x) {
      keys[c] = p.key_scale * row(p.key, t, p.depth)[p.first + c];
      queries[c] = row(p.query, t, p.depth)[p.first + c];
    }
    __syncthreads();
    // Backward, the state after the last token has not faded yet.
    const int from = p.reverse ? t + 1 : t;
    const float decay =
        from < end ? expf(p.a[int64_t{from} * p.a_stride + h]) : 1.0f;
    const float value = inside ? row(p.value, t, p.width)[column] : 0.0f;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int c = part + i * kParts;
      if (c < rows) {
        state[i] *= decay;
        sum = fmaf(queries[c], state[i], sum);
        state[i] = fmaf(keys[c], value, state[i]);
      }
    }
    partial[part][threadIdx.x % kColumns] = sum;
    __syncthreads();
    if (part == 0 && inside) {
      float total = 0.0f;
#pragma unroll
      for (int i = 0; i < kParts; ++i) total += partial[i][threadIdx.x];
      float& out = p.out[(int64_t{t} * p.heads + h) * p.width + column];
      out = p.out_scale * total + (p.first > 0 ? out : 0.0f);
    }
  }
  if (p.after == nullptr || !inside) return;
  // Out of the first token.
  const float decay = p.reverse && begin < end
                          ? expf(p.a[int64_t{begin} * p.a_stride + h])
                          : 1.0f;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int c = part + i * kParts;
    if (c < rows) p.after[index(c)] = decay * state[i];
  }
}

// Sum over the block of kThreads threads; every thread gets it.
__device__ double Sum(double x, double* scratch) {
  __syncthreads();
  scratch[threadIdx.x] = x;
  __syncthreads();
  double sum = 0.0;
  for (int i = 0; i < kThreads; ++i) sum += scratch[i];
  return sum;
}

struct FinishArgs {
  const float *q, *k, *v, *d_out;
  float *dq, *dk, *dv;  // [T, H, ...], as the walks left them
  double* dc;           // [T, H]
  int heads, groups, key_dim, value_dim;
  float scale;
};

// A block a row and head: what the token gives itself, and dc.
__global__ void Finish(FinishArgs p) {
  __shared__ double scratch[kThreads];
  const int64_t row = blockIdx.x, t = row / p.heads;
  const int h = static_cast<int>(row % p.heads);
  const int64_t group = t * p.groups + h / (p.heads / p.groups);
  const float *q = p.q + group * p.key_dim, *k = p.k + group * p.key_dim;
  const float *v = p.v + row * p.value_dim, *d = p.d_out + row * p.value_dim;
  float *dq = p.dq + row * p.key_dim, *dk = p.dk + row * p.key_dim;
  float* dv = p.dv + row * p.value_dim;
  double score = 0.0, along = 0.0, change = 0.0;
  for (int c = threadIdx.x; c < p.key_dim; c += kThreads) {
    score += double{q[c]} * k[c];
    change += double{q[c]} * dq[c] - double{k[c]} * dk[c];
  }
  for (int c = threadIdx.x; c < p.value_dim; c += kThreads) {
    along += double{d[c]} * v[c];
  }
  const float product = p.scale * static_cast<float>(Sum(score, scratch));
  const float slope = p.scale * static_cast<float>(Sum(along, scratch));
  change = Sum(change, scratch);
  for (int c = threadIdx.x; c < p.key_dim; c += kThreads) {
    dq[c] += slope * k[c];
    dk[c] += slope * q[c];
  }
  for (int c = threadIdx.x; c < p.value_dim; c += kThreads) {
    dv[c] += product * d[c];
  }
  if (threadIdx.x == 0) p.dc[row] = change;
}

// A block a head and segment: da from dc. d_state and d_decay may be null.
__global__ void Decays(const double* dc, const float* a, int64_t a_stride,
                       const float* state, const float* d_state,
                       const float* d_decay, const int32_t* cu_seqlens,
                       float* da, int heads, int64_t entry) {
  __shared__ double scratch[kThreads];
  const int h = blockIdx.x, n = blockIdx.y;
  const int64_t head = int64_t{n} * heads + h;
  const int begin = cu_seqlens[n], end = cu_seqlens[n + 1];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; d_state && i < entry; i += kThreads) {
    sum += double{state[head * entry + i]} * d_state[head * entry + i];
  }
  sum = Sum(sum, scratch);
  if (threadIdx.x > 0) return;
  if (d_decay != nullptr) {
    double total = 0.0;
    for (int t = begin; t < end; ++t) total += a[t * a_stride + h];
    sum += d_decay[head] * exp(total);
  }
  for (int t = end - 1; t >= begin; --t) {
    sum += dc[int64_t{t} * heads + h];
    da[int64_t{t} * heads + h] = static_cast<float>(sum);
  }
}

// [T, H, dim] → [T, G, dim], heads in order: a thread a number.
__global__ void SumHeads(const float* x, float* out, int64_t count, int shared,
                         int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float* from = x + i / dim * shared * dim + i % dim;
  float sum = 0.0f;
  for (int h = 0; h < shared; ++h) sum += from[h * dim];
  out[i] = sum;
}

Tensor OfGroups(Context& ctx, const Tensor& x, int64_t groups) {
  const int64_t heads = x.dim(1), dim = x.dim(2);
  if (heads == groups) return x;
  Tensor out = Tensor::Empty({x.dim(0), groups, dim}, DType::kF32, x.device());
  SumHeads<<<cuda::Blocks(out.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), out.mutable_data<float>(), out.numel(),
      static_cast<int>(heads / groups), dim);
  return out;
}

__global__ void Totals(const float* a, int64_t a_stride,
                       const int32_t* cu_seqlens, float* out, int64_t count,
                       int heads) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t n = i / heads, h = i % heads;
  double sum = 0.0;
  for (int t = cu_seqlens[n]; t < cu_seqlens[n + 1]; ++t) {
    sum += a[t * a_stride + h];
  }
  out[i] = static_cast<float>(exp(sum));
}

const float* DataOrNull(const Tensor& x) {
  return x.defined() ? x.data<float>() : nullptr;
}

int64_t StrideOf(const Tensor& log_decay) {
  return log_decay.rank() == 2 ? log_decay.dim(1) : 0;
}

void LaunchWalks(Context& ctx, WalkArgs args, int64_t segments) {
  const dim3 grid(cuda::Blocks(args.width, kColumns),
                  static_cast<unsigned>(args.heads),
                  static_cast<unsigned>(segments));
  for (args.first = 0; args.first < args.depth; args.first += kDepth) {
    Walk<<<grid, kColumns * kParts, 0, cuda::StreamOf(ctx)>>>(args);
  }
}

}  // namespace

Tensor TotalDecay(Context& ctx, const Tensor& log_decay) {
  const Batch& batch = *ctx.batch;
  const Tensor a = log_decay.To(ctx.device, ctx.stream);
  const int64_t heads = a.dim(-1);
  Tensor out =
      Tensor::Empty({batch.segments(), heads}, DType::kF32, ctx.device);
  if (out.numel() == 0) return out;
  Totals<<<cuda::Blocks(out.numel(), 64), 64, 0, cuda::StreamOf(ctx)>>>(
      a.data<float>(), StrideOf(a), batch.device.cu_seqlens.data<int32_t>(),
      out.mutable_data<float>(), out.numel(), static_cast<int>(heads));
  cuda::CheckLaunch("gated_linear");
  return out;
}

std::vector<Tensor> Gradients(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const Tensor& log_decay,
                              const Tensor& state_in,
                              const GatedLinearResult& result,
                              const std::vector<Tensor>& given,
                              const GatedLinearOptions& options) {
  const Batch& batch = *ctx.batch;
  const int64_t tokens = v.dim(0), heads = v.dim(1),
                segments = batch.segments();
  const int64_t key_dim = q.dim(2), value_dim = v.dim(2);
  const auto empty = [&](const Shape& shape, DType dtype = DType::kF32) {
    return Tensor::Empty(shape, dtype, ctx.device);
  };
  const Tensor a = log_decay.To(ctx.device, ctx.stream);
  const Tensor d_out = given[0].defined()
                           ? given[0].Contiguous()
                           : Tensor::Zeros(v.shape(), DType::kF32, ctx.device);
  const Tensor d_state = given[1].defined() ? given[1].Contiguous() : given[1];
  const Tensor d_decay = given[2].defined() ? given[2].Contiguous() : given[2];
  Tensor dq = empty({tokens, heads, key_dim});
  Tensor dk = empty({tokens, heads, key_dim});
  Tensor dv = empty(v.shape()), da = empty({tokens, heads});
  Tensor dc = empty({tokens, heads}, DType::kF64);
  Tensor ds = state_in.defined() ? empty(state_in.shape()) : Tensor();

  const Rows queries{q.data<float>(), static_cast<int>(q.dim(1))};
  const Rows keys{k.data<float>(), static_cast<int>(q.dim(1))};
  const Rows values{v.data<float>(), static_cast<int>(heads)};
  const Rows outs{d_out.data<float>(), static_cast<int>(heads)};
  // S and G are [K, V] here, as they stand in memory or transposed.
  const int64_t by_key = options.value_major ? 1 : value_dim;
  const int64_t by_value = options.value_major ? key_dim : 1;
  WalkArgs walk{};
  walk.a = a.data<float>();
  walk.a_stride = StrideOf(a);
  walk.cu_seqlens = batch.device.cu_seqlens.data<int32_t>();
  walk.heads = static_cast<int>(heads);

  WalkArgs of_q = walk;
  of_q.query = outs;
  of_q.key = values;
  of_q.value = keys;
  of_q.out = dq.mutable_data<float>();
  of_q.before = DataOrNull(state_in);
  of_q.depth = static_cast<int>(value_dim);
  of_q.width = static_cast<int>(key_dim);
  of_q.row_stride = by_value;
  of_q.column_stride = by_key;
  of_q.key_scale = 1.0f;
  of_q.out_scale = options.scale;
  LaunchWalks(ctx, of_q, segments);

  WalkArgs of_k = of_q;
  of_k.query = values;
  of_k.key = outs;
  of_k.value = queries;
  of_k.out = dk.mutable_data<float>();
  of_k.before = DataOrNull(d_state);
  of_k.key_scale = options.scale;
  of_k.out_scale = 1.0f;
  of_k.reverse = true;
  LaunchWalks(ctx, of_k, segments);

  WalkArgs of_v = of_k;
  of_v.query = keys;
  of_v.key = queries;
  of_v.value = outs;
  of_v.out = dv.mutable_data<float>();
  of_v.after = ds.defined() ? ds.mutable_data<float>() : nullptr;
  of_v.depth = static_cast<int>(key_dim);
  of_v.width = static_cast<int>(value_dim);
  of_v.row_stride = by_key;
  of_v.column_stride = by_value;
  LaunchWalks(ctx, of_v, segments);

  if (tokens > 0) {
    const FinishArgs finish{.q = q.data<float>(),
                            .k = k.data<float>(),
                            .v = v.data<float>(),
                            .d_out = d_out.data<float>(),
                            .dq = dq.mutable_data<float>(),
                            .dk = dk.mutable_data<float>(),
                            .dv = dv.mutable_data<float>(),
                            .dc = dc.mutable_data<double>(),
                            .heads = static_cast<int>(heads),
                            .groups = static_cast<int>(q.dim(1)),
                            .key_dim = static_cast<int>(key_dim),
                            .value_dim = static_cast<int>(value_dim),
                            .scale = options.scale};
    Finish<<<static_cast<unsigned>(tokens * heads), kThreads, 0,
             cuda::StreamOf(ctx)>>>(finish);
    const dim3 grid(static_cast<unsigned>(heads),
                    static_cast<unsigned>(segments));
    Decays<<<grid, kThreads, 0, cuda::StreamOf(ctx)>>>(
        dc.data<double>(), a.data<float>(), StrideOf(a),
        result.state.data<float>(), DataOrNull(d_state), DataOrNull(d_decay),
        walk.cu_seqlens, da.mutable_data<float>(), static_cast<int>(heads),
        key_dim * value_dim);
  }
  dq = OfGroups(ctx, dq, q.dim(1));
  dk = OfGroups(ctx, dk, q.dim(1));
  cuda::CheckLaunch("gated_linear");
  return {dq, dk, dv, da, ds};
}

}  // namespace intarsia::gated_linear_cuda
