#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/common/token_mix_cuda.h"

namespace intarsia::token_mix_cuda {
namespace {

constexpr int kThreads = 256;

// A block walks the columns of one segment's rows.
__global__ void Shift(const float* x, const int32_t* cu_seqlens,
                      const int32_t* slots, const float* state, int width,
                      float* out) {
  const int n = blockIdx.y;
  const int column = blockIdx.x * kThreads + threadIdx.x;
  if (column >= width) return;
  const int slot = state ? slots[n] : -1;
  float before = slot >= 0 ? state[int64_t{slot} * width + column] : 0.0f;
  for (int t = cu_seqlens[n]; t < cu_seqlens[n + 1]; ++t) {
    const float value = x[int64_t{t} * width + column];
    out[int64_t{t} * width + column] = before - value;
    before = value;
  }
}

__global__ void Keep(const float* x, const int32_t* cu_seqlens,
                     const int32_t* slots, int width, float* state) {
  const int n = blockIdx.y;
  const int column = blockIdx.x * kThreads + threadIdx.x;
  if (column >= width || slots[n] < 0 || cu_seqlens[n] == cu_seqlens[n + 1]) {
    return;
  }
  state[int64_t{slots[n]} * width + column] =
      x[int64_t{cu_seqlens[n + 1] - 1} * width + column];
}

__global__ void Weighted(const float* base, const float* y, const float* weight,
                         int64_t count, int width, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  out[i] = (base ? base[i] : 0.0f) + weight[i % width] * y[i];
}

__global__ void NegExp(const float* x, int64_t count, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = -expf(x[i]);
}

// A warp a head of a token.
__global__ void Bonus(const float* base, const float* r, const float* k,
                      const float* v, const float* u, int64_t count, int heads,
                      int keys, int values, float* out) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (i >= count) return;
  const int lane = threadIdx.x % 32;
  float sum = 0.0f;
  for (int c = lane; c < keys; c += 32) {
    sum += r[i * keys + c] * u[i % heads * keys + c] * k[i * keys + c];
  }
  sum = cuda::WarpSum(sum);
  for (int c = lane; c < values; c += 32) {
    out[i * values + c] = base[i * values + c] + sum * v[i * values + c];
  }
}

Tensor TokenShift(Context& ctx, const Tensor& x, Tensor* state) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.cu_seqlens.defined()) << "the batch is not uploaded";
  Tensor out = Tensor::Empty(x.shape(), DType::kF32, x.device());
  if (out.numel() == 0) return out;
  const int width = static_cast<int>(x.dim(1));
  const dim3 grid(cuda::Blocks(width, kThreads),
                  static_cast<unsigned>(batch.segments()));
  const int32_t* starts = batch.device.cu_seqlens.data<int32_t>();
  const int32_t* slots = batch.device.slots.data<int32_t>();
  float* kept = state->defined() ? state->mutable_data<float>() : nullptr;
  Shift<<<grid, kThreads, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), starts, slots, kept, width, out.mutable_data<float>());
  if (kept != nullptr) {
    Keep<<<grid, kThreads, 0, cuda::StreamOf(ctx)>>>(x.data<float>(), starts,
                                                     slots, width, kept);
  }
  cuda::CheckLaunch("token_shift");
  return out;
}

Tensor AddWeighted(Context& ctx, const Tensor& base, const Tensor& y,
                   const Weight& weight) {
  Tensor out = Tensor::Empty(y.shape(), DType::kF32, y.device());
  const int64_t count = y.numel();
  if (count == 0) return out;
  Weighted<<<cuda::Blocks(count, kThreads), kThreads, 0, cuda::StreamOf(ctx)>>>(
      base.defined() ? base.data<float>() : nullptr, y.data<float>(),
      weight.values().data<float>(), count,
      static_cast<int>(weight.shape().numel()), out.mutable_data<float>());
  cuda::CheckLaunch("add_weighted");
  return out;
}

Tensor NegativeExp(Context& ctx, const Tensor& x) {
  Tensor out = Tensor::Empty(x.shape(), DType::kF32, x.device());
  const int64_t count = x.numel();
  if (count == 0) return out;
  NegExp<<<cuda::Blocks(count, kThreads), kThreads, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), count, out.mutable_data<float>());
  cuda::CheckLaunch("negative_exp");
  return out;
}

Tensor AddBonus(Context& ctx, const Tensor& base, const Tensor& r,
                const Tensor& k, const Tensor& v, const Weight& u) {
  Tensor out = Tensor::Empty(v.shape(), DType::kF32, v.device());
  const int64_t count = v.dim(0) * v.dim(1);
  if (count == 0) return out;
  Bonus<<<cuda::Blocks(count * 32, kThreads), kThreads, 0,
          cuda::StreamOf(ctx)>>>(
      base.data<float>(), r.data<float>(), k.data<float>(), v.data<float>(),
      u.values().data<float>(), count, static_cast<int>(v.dim(1)),
      static_cast<int>(r.dim(2)), static_cast<int>(v.dim(2)),
      out.mutable_data<float>());
  cuda::CheckLaunch("add_bonus");
  return out;
}

constexpr Kernels kKernels = {.shift = TokenShift,
                              .add_weighted = AddWeighted,
                              .negative_exp = NegativeExp,
                              .add_bonus = AddBonus};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::token_mix_cuda
