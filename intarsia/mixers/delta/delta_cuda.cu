#include "intarsia/mixers/delta/delta_cuda.h"

#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/room.cuh"

namespace intarsia::delta_cuda {
namespace {

constexpr int kThreads = 256;

__global__ void Decays(const float* raw, const float* bias, const float* a_log,
                       float floor, int64_t count, int width, int channels,
                       float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int column = static_cast<int>(i % width);
  const float a = expf(a_log[column / channels]);
  const float s = raw[i] + bias[column];
  out[i] = floor < 0.0f ? floor / (1.0f + expf(-a * s))
                        : -a * (s > 20.0f ? s : log1pf(expf(s)));
}

__global__ void Gate(const float* x, const float* gate, int64_t count,
                     int groups, int heads, int width, bool each, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t head = i / width;
  const int64_t group = head / heads * groups + head % heads / (heads / groups);
  out[i] = x[group * width + i % width] * gate[each ? i : head];
}

Tensor LogDecays(Context& ctx, const Tensor& raw, const Weight& dt_bias,
                 const Weight& a_log, float floor) {
  Tensor out = Tensor::Empty(raw.shape(), DType::kF32, raw.device());
  const int64_t count = raw.numel();
  if (count == 0) return out;
  const int width = static_cast<int>(raw.dim(1));
  const int channels = width / static_cast<int>(a_log.shape()[0]);
  Decays<<<cuda::Blocks(count, kThreads), kThreads, 0, cuda::StreamOf(ctx)>>>(
      raw.data<float>(), dt_bias.values().data<float>(),
      a_log.values().data<float>(), floor, count, width, channels,
      out.mutable_data<float>());
  cuda::CheckLaunch("delta");
  return out;
}

Tensor GateHeads(Context& ctx, const Tensor& x, const Tensor& gate) {
  const int64_t rows = x.dim(0), heads = gate.dim(1), width = x.dim(2);
  Tensor out = Tensor::Empty({rows, heads, width}, DType::kF32, x.device());
  const int64_t count = out.numel();
  if (count == 0) return out;
  Gate<<<cuda::Blocks(count, kThreads), kThreads, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), gate.data<float>(), count, static_cast<int>(x.dim(1)),
      static_cast<int>(heads), static_cast<int>(width), gate.rank() == 3,
      out.mutable_data<float>());
  cuda::CheckLaunch("delta");
  return out;
}

constexpr Kernels kKernels = {.log_decays = LogDecays, .gate_heads = GateHeads};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::delta_cuda
