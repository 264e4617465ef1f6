// Plain causal convolution: a thread a channel of a token; then a thread a
// channel of a sequence moves its state on. And the list of this and the tuned
// ones.
#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/conv1d/conv1d_cuda.h"
#include "intarsia/ops/conv1d/conv1d_gradients_cuda.h"
#include "intarsia/ops/conv1d/sm90_conv1d.h"

namespace intarsia::conv1d_cuda {
namespace {

template <typename T>
struct Args {
  const T* x;
  int64_t stride;              // of rows
  const float *weight, *bias;  // bias may be null
  T* y;
  float* state;  // may be null
  const int32_t *segments, *cu_seqlens, *slots;
  int64_t tokens, channels;
  int width;
  bool silu;
};

// Input `back` rows before row t of its segment, or of the carried ones.
template <typename T>
__device__ float InputAt(const Args<T>& a, int64_t t, int64_t first,
                         int32_t slot, int64_t c, int back) {
  if (t - back >= first) return cuda::Get(a.x[(t - back) * a.stride + c]);
  if (a.state == nullptr || slot < 0) return 0.0f;
  return a.state[(slot * a.channels + c) * (a.width - 1) + a.width - 1 + t -
                 back - first];
}

template <typename T>
__global__ void Convolve(Args<T> a) {
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
  a.y[i] = cuda::As<T>(a.silu ? sum / (1.0f + expf(-sum)) : sum);
}

// The last width − 1 inputs, oldest first. What is read of the old state stands
// after what is written.
template <typename T>
__global__ void MoveState(Args<T> a, int64_t segments) {
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

struct Call {
  const Batch& batch;
  const Tensor& x;
  const Weight& weight;
  const Weight* bias;
  Activation activation;
  float* state;  // [slots, C, width - 1] or null
  Tensor y;

  int width() const { return static_cast<int>(weight.shape()[1]); }
  const float* shift() const { return bias ? bias->f32() : nullptr; }
  bool silu() const { return activation == Activation::kSilu; }
};

Status SupportsTuned(const Call& a) {
  if (a.x.dtype() != DType::kBF16) return Unsupported("bf16 activations");
  if (a.x.dim(1) % 8 != 0 || a.x.stride(0) % 8 != 0 ||
      reinterpret_cast<uintptr_t>(a.x.raw()) % 16 != 0) {
    return Unsupported("channels in eights");
  }
  if (a.width() < 2 || a.width() > 4) return Unsupported("2, 3 or 4 taps");
  if (!a.silu() && a.activation != Activation::kNone) {
    return Unsupported("silu or no activation");
  }
  return Status::Ok();
}

Status SupportsStep(const Call& a) {
  RETURN_IF_ERROR(SupportsTuned(a));
  if (a.state == nullptr || a.batch.size() != a.batch.segments() ||
      a.batch.longest() != 1 || a.x.dim(0) > 65535) {
    return Unsupported("one token a sequence, with state");
  }
  return Status::Ok();
}

void RunStep(Context& ctx, Call& a) {
  Sm90Conv1dStepArgs args;
  args.parts[args.count++] = {.x = cuda::Bf16(a.x),
                              .x_stride = a.x.stride(0),
                              .weight = a.weight.f32(),
                              .bias = a.shift(),
                              .state = a.state,
                              .out = cuda::Bf16Out(a.y),
                              .channels = static_cast<int>(a.x.dim(1))};
  args.slots = a.batch.device.slots.data<int32_t>();
  args.rows = static_cast<int>(a.x.dim(0));
  args.width = a.width();
  args.silu = a.silu();
  cuda::Require(LaunchSm90Conv1dStep(args, cuda::StreamOf(ctx)), "conv1d");
}

Status SupportsWalk(const Call& a) {
  RETURN_IF_ERROR(SupportsTuned(a));
  if (a.x.dim(0) > int64_t{64} * 65535) return Unsupported("fewer tokens");
  return Status::Ok();
}

void RunWalk(Context& ctx, Call& a) {
  const int64_t kept = a.width() - 1;
  cuda::Require(LaunchSm90CausalConv1d(
                    {.x = cuda::Bf16(a.x),
                     .weight_f32 = a.weight.f32(),
                     .bias_f32 = a.shift(),
                     .out = cuda::Bf16Out(a.y),
                     .state = a.state,
                     .slots = a.batch.device.slots.data<int32_t>(),
                     .cu_seqlens = a.batch.device.cu_seqlens.data<int32_t>(),
                     .sequences = static_cast<int>(a.batch.segments()),
                     .tokens = static_cast<int>(a.x.dim(0)),
                     .channels = static_cast<int>(a.x.dim(1)),
                     .width = a.width(),
                     .x_stride = a.x.stride(0),
                     .out_stride = a.x.dim(1),
                     .state_slot_stride = a.x.dim(1) * kept,
                     .state_channel_stride = kept,
                     .state_tap_stride = 1,
                     .silu = a.silu()},
                    cuda::StreamOf(ctx)),
                "conv1d");
}

template <typename T>
void RunPlain(Context& ctx, Call& a) {
  const Batch& batch = a.batch;
  const Args<T> args{.x = cuda::In<T>(a.x),
                     .stride = a.x.stride(0),
                     .weight = a.weight.f32(),
                     .bias = a.shift(),
                     .y = cuda::Out<T>(a.y),
                     .state = a.state,
                     .segments = batch.device.segment_ids.data<int32_t>(),
                     .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
                     .slots = batch.device.slots.data<int32_t>(),
                     .tokens = a.x.dim(0),
                     .channels = a.x.dim(1),
                     .width = a.width(),
                     .silu = a.silu()};
  Convolve<<<cuda::Blocks(a.y.numel(), 256), 256, 0, cuda::StreamOf(ctx)>>>(
      args);
  if (args.state != nullptr) {
    const int64_t work = batch.segments() * args.channels;
    MoveState<<<cuda::Blocks(work, 256), 256, 0, cuda::StreamOf(ctx)>>>(
        args, batch.segments());
  }
  cuda::CheckLaunch("conv1d");
  if (a.silu() || a.activation == Activation::kNone) return;
  a.y = Activate(ctx, a.activation, a.y);
}

constexpr Kernel<Call> kConv1d[] = {
    {"sm90_conv1d_step", SupportsStep, RunStep},
    {"sm90_conv1d", SupportsWalk, RunWalk},
    {"plain", [](const Call&) { return Status::Ok(); },
     [](Context& ctx, Call& a) {
       cuda::DispatchActivations(
           a.x.dtype(), [&](auto t) { RunPlain<decltype(t)>(ctx, a); });
     }},
};

Tensor Conv1d(Context& ctx, const Tensor& x, const Weight& weight,
              const Weight* bias, Activation activation, Tensor* state) {
  CHECK(ctx.batch->device.positions.defined()) << "the batch is not uploaded";
  Call call{*ctx.batch,
            x,
            weight,
            bias,
            activation,
            state->defined() && state->dim(2) > 0 ? state->mutable_data<float>()
                                                  : nullptr,
            Tensor::Empty(x.shape(), x.dtype(), x.device())};
  if (x.numel() > 0) RunFirst(ctx, ctx.report, "conv1d", kConv1d, call);
  return call.y;
}

constexpr Kernels kKernels = {.conv1d = Conv1d,
                              .input_gradient = InputGradient,
                              .weight_gradient = WeightGradient,
                              .bias_gradient = BiasGradient};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::conv1d_cuda
