// Plain gradients in fp32: a warp a row and head, a thread a column.
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/mamba2/mamba2_gradients_cuda.h"

namespace intarsia::mamba2_cuda {
namespace {

struct StepArgs {
  const float *raw, *x, *bias, *a_log;
  const float *decay, *value;  // gradients, or null
  float *d_raw, *dx, *d_a;     // dx is null as value is
  int64_t rows;                // of all heads
  int heads, width;
  float low, high;
};

// mamba2_vjp.cc has the equations.
__global__ void Steps(StepArgs p) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (i >= p.rows) return;
  const int h = static_cast<int>(i % p.heads), lane = threadIdx.x % 32;
  const float s = p.raw[i] + p.bias[h];
  const float step =
      fminf(fmaxf(s > 20.0f ? s : log1pf(expf(s)), p.low), p.high);
  float d = 0.0f;
  for (int c = lane; p.value && c < p.width; c += 32) {
    const float g = p.value[i * p.width + c];
    d = fmaf(p.x[i * p.width + c], g, d);
    p.dx[i * p.width + c] = step * g;
  }
  d = cuda::WarpSum(d);
  if (lane > 0) return;
  const float rate = -expf(p.a_log[h]);
  const float fade = p.decay ? p.decay[i] : 0.0f;
  p.d_a[i] = rate * step * fade;
  d += rate * fade;
  // At a limit the step does not move.
  p.d_raw[i] = step > p.low && step < p.high ? d / (1.0f + expf(-s)) : 0.0f;
}

__global__ void DotHeads(const float* a, const float* b, float* out,
                         int64_t rows, int width) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (i >= rows) return;
  const int lane = threadIdx.x % 32;
  float sum = 0.0f;
  for (int c = lane; c < width; c += 32) {
    sum = fmaf(a[i * width + c], b[i * width + c], sum);
  }
  sum = cuda::WarpSum(sum);
  if (lane == 0) out[i] = sum;
}

__global__ void Scaled(const float* x, const float* d, float* out, int64_t n,
                       int heads, int width) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) out[i] = d[i / width % heads] * x[i];
}

__global__ void Columns(const float* x, float* out, int64_t rows, int heads) {
  const int64_t h = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (h >= heads) return;
  double sum = 0.0;
  for (int64_t t = 0; t < rows; ++t) sum += x[t * heads + h];
  out[h] = static_cast<float>(sum);
}

}  // namespace

std::vector<Tensor> DiscretizeGradients(Context& ctx, const Tensor& raw,
                                        const Tensor& x, const Weight& dt_bias,
                                        const Weight& a_log, float dt_min,
                                        float dt_max, const Tensor& decay,
                                        const Tensor& value) {
  const auto like = [&](const Tensor& t) {
    return Tensor::Empty(t.shape(), DType::kF32, t.device());
  };
  Tensor d_raw = like(raw), d_a = like(raw);
  Tensor dx = value.defined() ? like(x) : Tensor();
  const int64_t rows = raw.numel();
  if (rows == 0) return {d_raw, dx, d_a};
  const StepArgs args{
      .raw = raw.data<float>(),
      .x = x.data<float>(),
      .bias = dt_bias.f32(),
      .a_log = a_log.f32(),
      .decay = decay.defined() ? decay.data<float>() : nullptr,
      .value = value.defined() ? value.data<float>() : nullptr,
      .d_raw = d_raw.mutable_data<float>(),
      .dx = value.defined() ? dx.mutable_data<float>() : nullptr,
      .d_a = d_a.mutable_data<float>(),
      .rows = rows,
      .heads = static_cast<int>(x.dim(1)),
      .width = static_cast<int>(x.dim(2)),
      .low = dt_min,
      .high = dt_max};
  Steps<<<cuda::Blocks(rows * 32, 256), 256, 0, cuda::StreamOf(ctx)>>>(args);
  cuda::CheckLaunch("mamba2");
  return {d_raw, dx, d_a};
}

Tensor Dots(Context& ctx, const Tensor& a, const Tensor& b) {
  Tensor out = Tensor::Empty({a.dim(0), a.dim(1)}, DType::kF32, a.device());
  if (out.numel() == 0) return out;
  DotHeads<<<cuda::Blocks(out.numel() * 32, 256), 256, 0,
             cuda::StreamOf(ctx)>>>(a.data<float>(), b.data<float>(),
                                    out.mutable_data<float>(), out.numel(),
                                    static_cast<int>(a.dim(2)));
  cuda::CheckLaunch("mamba2");
  return out;
}

Tensor ScaleHeads(Context& ctx, const Tensor& x, const Weight& d) {
  Tensor out = Tensor::Empty(x.shape(), DType::kF32, x.device());
  const int64_t n = x.numel();
  if (n == 0) return out;
  Scaled<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), d.f32(), out.mutable_data<float>(), n,
      static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)));
  cuda::CheckLaunch("mamba2");
  return out;
}

Tensor SumRows(Context& ctx, const Tensor& x) {
  Tensor out = Tensor::Empty({x.dim(1)}, DType::kF32, x.device());
  if (out.numel() == 0) return out;
  Columns<<<cuda::Blocks(out.numel(), 64), 64, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), out.mutable_data<float>(), x.dim(0),
      static_cast<int>(x.dim(1)));
  cuda::CheckLaunch("mamba2");
  return out;
}

}  // namespace intarsia::mamba2_cuda
