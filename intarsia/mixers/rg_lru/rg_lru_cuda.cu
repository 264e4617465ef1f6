// The plain recurrence: a thread a channel of a sequence.
#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/rg_lru/rg_lru_cuda.h"

namespace intarsia::rg_lru_cuda {
namespace {

struct Args {
  const float *x, *r, *g, *param, *r_bias, *g_bias;
  const int32_t *cu_seqlens, *positions, *slots;
  float *states, *h;  // states may be null
  int channels;
};

__device__ float Sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__global__ void Recur(Args p) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= p.channels) return;
  const int segment = static_cast<int>(blockIdx.y);
  const int slot = p.states != nullptr ? p.slots[segment] : -1;
  float* own = slot >= 0 ? p.states + int64_t{slot} * p.channels + i : nullptr;
  float h = own != nullptr ? *own : 0.0f;
  const float w = p.param[i];
  const float rate = -8.0f * (w > 20.0f ? w : log1pf(expf(w)));
  const int end = p.cu_seqlens[segment + 1];
  for (int t = p.cu_seqlens[segment]; t < end; ++t) {
    const int64_t at = int64_t{t} * p.channels + i;
    const float fade = rate * Sigmoid(p.r[at] + p.r_bias[i]);
    const float keep = p.positions[t] == 0 ? 1.0f : sqrtf(-expm1f(2.0f * fade));
    h = expf(fade) * h + keep * Sigmoid(p.g[at] + p.g_bias[i]) * p.x[at];
    p.h[at] = h;
  }
  if (own != nullptr) *own = h;
}

Tensor Run(Context& ctx, const RgLruInputs& in, Tensor* states) {
  const Batch::OnDevice& batch = ctx.batch->device;
  CHECK(batch.positions.defined()) << "the batch is not uploaded";
  if (in.x.numel() == 0) return in.x;
  const Tensor x = in.x.Contiguous(), r = in.r.Contiguous();
  const Tensor g = in.g.Contiguous();
  Tensor h = Tensor::Empty(x.shape(), DType::kF32, ctx.device);
  const int channels = static_cast<int>(x.dim(1));
  const Args args = {
      .x = x.data<float>(),
      .r = r.data<float>(),
      .g = g.data<float>(),
      .param = in.param.f32(),
      .r_bias = in.r_bias.f32(),
      .g_bias = in.g_bias.f32(),
      .cu_seqlens = batch.cu_seqlens.data<int32_t>(),
      .positions = batch.positions.data<int32_t>(),
      .slots = batch.slots.data<int32_t>(),
      .states = states != nullptr ? states->mutable_data<float>() : nullptr,
      .h = h.mutable_data<float>(),
      .channels = channels};
  const dim3 grid(cuda::Blocks(channels, 64),
                  static_cast<unsigned>(ctx.batch->segments()));
  Recur<<<grid, 64, 0, cuda::StreamOf(ctx)>>>(args);
  cuda::CheckLaunch("rg_lru");
  if (ctx.report != nullptr) ctx.report->Note("rg_lru", "plain");
  return h;
}

constexpr Kernels kKernels = {.recur = Run};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rg_lru_cuda
