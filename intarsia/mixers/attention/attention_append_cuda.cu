// A decoding step's way into the pages: queries and keys are rotated, keys and
// values stored, by one launch.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/attention/attention_cuda.h"
#include "intarsia/ops/rope/rope.cuh"

namespace intarsia::attention_cuda {
namespace {

constexpr int kThreads = 128;

struct Args {
  const __nv_bfloat16 *q, *k, *v;  // rows of the batch
  int64_t q_stride, k_stride, v_stride;
  __nv_bfloat16* out;  // [T, H, D]: q rotated
  __nv_bfloat16 *key_pages, *value_pages;
  const int32_t *positions, *segments, *slots;
  const int32_t *key_table, *value_table;
  int table_width, page;
  int64_t tokens;
  int heads, kv_heads, head_dim;
  bool interleaved;
  rope_cuda::Angles angles;
};

// A thread turns or copies two channels of a head of q, k or v.
__global__ void __launch_bounds__(kThreads)
    RotateAndAppendKernel(const __grid_constant__ Args a) {
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int work = a.head_dim / 2;
  const int64_t row = i / work;
  const int all = a.heads + 2 * a.kv_heads;
  const int64_t t = row / all;
  if (t >= a.tokens) return;
  const int j = static_cast<int>(i % work);
  const int head = static_cast<int>(row % all);
  const bool query = head < a.heads, value = head >= a.heads + a.kv_heads;
  const int g = head - a.heads - (value ? a.kv_heads : 0);  // of k and v
  const int32_t position = a.positions[t];
  const __nv_bfloat16* in =
      query ? a.q + t * a.q_stride + int64_t{head} * a.head_dim
            : (value ? a.v + t * a.v_stride : a.k + t * a.k_stride) +
                  int64_t{g} * a.head_dim;
  __nv_bfloat16* out;
  if (query) {
    out = a.out + (t * a.heads + head) * a.head_dim;
  } else {
    const int32_t slot = a.slots[a.segments[t]];
    if (slot < 0) return;  // padding
    const int32_t* table = value ? a.value_table : a.key_table;
    const int64_t page =
        table[int64_t{slot} * a.table_width + position / a.page];
    out = (value ? a.value_pages : a.key_pages) +
          ((page * a.page + position % a.page) * a.kv_heads + g) * a.head_dim;
  }
  const int pairs = a.angles.pairs;
  if (value || j >= pairs) {  // the rotated channels come first
    out[2 * j] = in[2 * j];
    out[2 * j + 1] = in[2 * j + 1];
    return;
  }
  float s, c;
  rope_cuda::SineAndCosine(a.angles, position, t, j, &s, &c);
  const int first = a.interleaved ? 2 * j : j;
  const int second = a.interleaved ? 2 * j + 1 : j + pairs;
  const float x = cuda::Get(in[first]), y = cuda::Get(in[second]);
  out[first] = cuda::As<__nv_bfloat16>(x * c - y * s);
  out[second] = cuda::As<__nv_bfloat16>(y * c + x * s);
}

bool Dense(const Tensor& x) {
  return x.dtype() == DType::kBF16 && x.stride(1) == 1;
}

}  // namespace

bool RotateAndAppend(Context& ctx, const Tensor& q, const Tensor& k,
                     const Tensor& v, const RopeConfig& rope, int head_dim,
                     TokenPages* keys, TokenPages* values, Tensor* rotated) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.positions.defined()) << "the batch is not uploaded";
  if (!rope.enabled || head_dim % 2 != 0 || batch.size() == 0 ||
      batch.size() != batch.segments() || !Dense(q) || !Dense(k) || !Dense(v) ||
      keys->pool.dtype() != DType::kBF16 ||
      values->pool.dtype() != DType::kBF16 || keys->positions.defined() ||
      keys->page != values->page ||
      keys->device_table.dim(1) != values->device_table.dim(1)) {
    return false;
  }
  const int64_t tokens = q.dim(0);
  const int heads = static_cast<int>(q.dim(1) / head_dim);
  const int kv_heads = static_cast<int>(k.dim(1) / head_dim);
  *rotated = Tensor::Empty({tokens, heads, head_dim}, DType::kBF16, q.device());
  const Args args{.q = cuda::Bf16(q),
                  .k = cuda::Bf16(k),
                  .v = cuda::Bf16(v),
                  .q_stride = q.stride(0),
                  .k_stride = k.stride(0),
                  .v_stride = v.stride(0),
                  .out = cuda::Bf16Out(*rotated),
                  .key_pages = cuda::Bf16Out(keys->pool),
                  .value_pages = cuda::Bf16Out(values->pool),
                  .positions = batch.device.positions.data<int32_t>(),
                  .segments = batch.device.segment_ids.data<int32_t>(),
                  .slots = batch.device.slots.data<int32_t>(),
                  .key_table = keys->device_table.data<int32_t>(),
                  .value_table = values->device_table.data<int32_t>(),
                  .table_width = static_cast<int>(keys->device_table.dim(1)),
                  .page = static_cast<int>(keys->page),
                  .tokens = tokens,
                  .heads = heads,
                  .kv_heads = kv_heads,
                  .head_dim = head_dim,
                  .interleaved = rope.interleaved,
                  .angles = rope_cuda::AnglesOf(ctx, rope, head_dim)};
  const int64_t work = tokens * (heads + 2 * kv_heads) * (head_dim / 2);
  cuda::Require(cuda::Launch(RotateAndAppendKernel,
                             {.grid = dim3(cuda::Blocks(work, kThreads)),
                              .block = dim3(kThreads),
                              .overlap_previous = true,
                              .stream = cuda::StreamOf(ctx)},
                             args),
                "attention");
  if (ctx.report != nullptr) {
    ctx.report->Note("rope and append", "rotate_and_append");
  }
  return true;
}

}  // namespace intarsia::attention_cuda
