// Plain causal convolution: a thread a channel of a token; then a thread a
// channel of a sequence moves its state on.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/conv1d/conv1d_cuda.h"
#include "intarsia/ops/conv1d/conv1d_gradients_cuda.h"

namespace intarsia::conv1d_cuda {
namespace {

struct Args {
  const float* x;
  int64_t stride;              // of rows
  const float *weight, *bias;  // bias may be null
  float *y, *state;            // state may be null
  const int32_t *segments, *cu_seqlens, *slots;
  int64_t tokens, channels;
  int width;
  bool silu;
};

// Input `back` rows before row t of its segment, or of the carried ones.
__device__ float InputAt(const Args& a, int64_t t, int64_t first, int32_t slot,
                         int64_t c, int back) {
  if (t - back >= first) return a.x[(t - back) * a.stride + c];
  if (a.state == nullptr || slot < 0) return 0.0f;
  return a.state[(slot * a.channels + c) * (a.width - 1) + a.width - 1 + t -
                 back - first];
}

__global__ void Convolve(Args a) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= a.tokens * a.channels) return;
  const int64_t t = i / a.channels, c = i % a.channels;
  const int32_t segment = a.segments[t];
  const int64_t first = a.cu_seqlens[segment];
  const int32_t slot = a.state != nullptr ? a.slots[segment] : -1;
  float sum = a.bias != nullptr ? a.bias[c] : 0.0f;
  for (int j = 0; j < a.width; ++j) {
    sum += a.weight[c * a.width + a.width - 1 - j] *
           InputAt(a, t, first, slot, c, j);
  }
  a.y[i] = a.silu ? sum / (1.0f + expf(-sum)) : sum;
}

// The last width − 1 inputs, oldest first. What is read of the old state stands
// after what is written.
__global__ void MoveState(Args a, int64_t segments) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= segments * a.channels) return;
  const int64_t n = i / a.channels, c = i % a.channels;
  const int64_t first = a.cu_seqlens[n], end = a.cu_seqlens[n + 1];
  const int32_t slot = a.slots[n];
  if (slot < 0 || first == end) return;
  float* to = a.state + (slot * a.channels + c) * (a.width - 1);
  for (int j = 0; j < a.width - 1; ++j) {
    to[j] = InputAt(a, end - 1, first, slot, c, a.width - 2 - j);
  }
}

Tensor Conv1d(Context& ctx, const Tensor& x, const Weight& weight,
              const Weight* bias, Activation activation, Tensor* state) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.positions.defined()) << "the batch is not uploaded";
  Tensor y = Tensor::Empty(x.shape(), DType::kF32, x.device());
  if (y.numel() == 0) return y;
  const Args args{.x = x.data<float>(),
                  .stride = x.stride(0),
                  .weight = weight.f32(),
                  .bias = bias ? bias->f32() : nullptr,
                  .y = y.mutable_data<float>(),
                  .state = state->defined() && state->dim(2) > 0
                               ? state->mutable_data<float>()
                               : nullptr,
                  .segments = batch.device.segment_ids.data<int32_t>(),
                  .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
                  .slots = batch.device.slots.data<int32_t>(),
                  .tokens = x.dim(0),
                  .channels = x.dim(1),
                  .width = static_cast<int>(weight.shape()[1]),
                  .silu = activation == Activation::kSilu};
  Convolve<<<cuda::Blocks(y.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(args);
  if (args.state != nullptr) {
    const int64_t work = batch.segments() * args.channels;
    MoveState<<<cuda::Blocks(work, 256), 256, 0, cuda::StreamOf(ctx)>>>(
        args, batch.segments());
  }
  cuda::CheckLaunch("conv1d");
  return args.silu || activation == Activation::kNone
             ? y
             : Activate(ctx, activation, y);
}

constexpr Kernels kKernels = {.conv1d = Conv1d,
                              .input_gradient = InputGradient,
                              .weight_gradient = WeightGradient,
                              .bias_gradient = BiasGradient};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::conv1d_cuda
