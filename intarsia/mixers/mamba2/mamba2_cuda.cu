// Plain step sizes and skip connection, a thread a channel; and the list of
// kernels of the whole recurrence.
#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/mamba2/mamba2_cuda.h"
#include "intarsia/mixers/mamba2/mamba2_gradients_cuda.h"
#include "intarsia/mixers/mamba2/sm90_ssd_forward.h"
#include "intarsia/mixers/mamba2/sm90_state_update.h"
#include "intarsia/ops/conv1d/sm90_conv1d.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::mamba2_cuda {
namespace {

__global__ void Steps(const float* raw, const float* x, const float* bias,
                      const float* a_log, float low, float high,
                      float* log_decay, float* value, int64_t n, int heads,
                      int width) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int64_t row = i / width;  // of [T, H]
  const int h = static_cast<int>(row % heads);
  const float in = raw[row] + bias[h];
  const float step =
      fminf(fmaxf(in > 20.0f ? in : log1pf(expf(in)), low), high);
  value[i] = step * x[i];
  if (i % width == 0) log_decay[row] = -step * expf(a_log[h]);
}

Mamba2Steps Discretize(Context& ctx, const Tensor& raw, const Tensor& x,
                       const Weight& dt_bias, const Weight& a_log, float dt_min,
                       float dt_max) {
  Mamba2Steps steps{Tensor::Empty(raw.shape(), DType::kF32, x.device()),
                    Tensor::Empty(x.shape(), DType::kF32, x.device())};
  const int64_t n = x.numel();
  if (n == 0) return steps;
  Steps<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      raw.data<float>(), x.data<float>(), dt_bias.f32(), a_log.f32(), dt_min,
      dt_max, steps.log_decay.mutable_data<float>(),
      steps.value.mutable_data<float>(), n, static_cast<int>(x.dim(1)),
      static_cast<int>(x.dim(2)));
  cuda::CheckLaunch("mamba2");
  return steps;
}

__global__ void Skip(const float* y, const float* x, const float* d, float* out,
                     int64_t n, int heads, int width) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) out[i] = y[i] + d[i / width % heads] * x[i];
}

Tensor AddSkip(Context& ctx, const Tensor& y, const Tensor& x,
               const Weight& d) {
  Tensor out = Tensor::Empty(x.shape(), DType::kF32, x.device());
  const int64_t n = x.numel();
  if (n == 0) return out;
  Skip<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      y.data<float>(), x.data<float>(), d.f32(), out.mutable_data<float>(), n,
      static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)));
  cuda::CheckLaunch("mamba2");
  return out;
}

// A call with the type of activations that the context asks for.
struct Args {
  Recurrence& call;
  const Batch& batch;
  DType dtype;

  int heads() const { return static_cast<int>(call.x.dim(1)); }
  int head_dim() const { return static_cast<int>(call.x.dim(2)); }
  int groups() const { return static_cast<int>(call.b.dim(1)); }
  int state_dim() const { return static_cast<int>(call.b.dim(2)); }
};

Status SupportsStep(const Args& a) {
  if (a.dtype != DType::kBF16) return Unsupported("bf16 activations");
  if (a.call.state == nullptr || a.batch.size() != a.batch.segments() ||
      a.batch.longest() != 1) {
    return Unsupported("one token a sequence, with state");
  }
  const int n = a.state_dim();
  if (n != 32 && n != 64 && n != 128 && n != 256) {
    return Unsupported("states of 32, 64, 128 or 256 channels");
  }
  return Status::Ok();
}

// The sizes, weights and tensors that one step needs.
struct StepTensors {
  const Tensor &x, &raw, &b, &c;  // bf16, rows of the batch
  const Tensor* z;                // or null
  Tensor *ssm, *y;
};

void LaunchStep(Context& ctx, const StepTensors& t, const Weight& dt_bias,
                const Weight& a_log, const Weight& d, float dt_min,
                float dt_max, int64_t heads, int64_t head_dim, int64_t groups,
                int64_t state_dim) {
  const int64_t inner = heads * head_dim;
  cuda::Require(
      LaunchSm90Mamba2Step({.state = t.ssm->mutable_data<float>(),
                            .slots = ctx.batch->device.slots.data<int32_t>(),
                            .x = cuda::Bf16(t.x),
                            .dt = cuda::Bf16(t.raw),
                            .b = cuda::Bf16(t.b),
                            .c = cuda::Bf16(t.c),
                            .z = t.z != nullptr ? cuda::Bf16(*t.z) : nullptr,
                            .a_log = a_log.f32(),
                            .d = d.f32(),
                            .dt_bias = dt_bias.f32(),
                            .out = cuda::Bf16Out(*t.y),
                            .batch = static_cast<int>(t.x.dim(0)),
                            .heads = static_cast<int>(heads),
                            .head_dim = static_cast<int>(head_dim),
                            .state_dim = static_cast<int>(state_dim),
                            .groups = static_cast<int>(groups),
                            .x_stride = t.x.stride(0),
                            .dt_stride = t.raw.stride(0),
                            .b_stride = t.b.stride(0),
                            .c_stride = t.c.stride(0),
                            .z_stride = t.z != nullptr ? t.z->stride(0) : 0,
                            .out_stride = inner,
                            .slot_stride = inner * state_dim,
                            .dt_min = dt_min,
                            .dt_max = dt_max},
                           cuda::StreamOf(ctx)),
      "mamba2");
}

void RunStep(Context& ctx, Args& a) {
  const Tensor x = Cast(ctx, a.call.x, DType::kBF16);
  const Tensor raw = Cast(ctx, a.call.raw, DType::kBF16);
  const Tensor b = Cast(ctx, a.call.b, DType::kBF16);
  const Tensor c = Cast(ctx, a.call.c, DType::kBF16);
  Tensor y = Tensor::Empty(x.shape(), DType::kBF16, ctx.device);
  LaunchStep(ctx, {x, raw, b, c, nullptr, a.call.state, &y}, a.call.dt_bias,
             a.call.a_log, a.call.d, a.call.dt_min, a.call.dt_max, a.heads(),
             a.head_dim(), a.groups(), a.state_dim());
  a.call.y = Cast(ctx, y, a.call.x.dtype());
}

bool DenseInEights(const Tensor& x) {
  return x.dtype() == DType::kBF16 && x.dim(1) % 8 == 0 && x.stride(1) == 1 &&
         x.stride(0) % 8 == 0 && reinterpret_cast<uintptr_t>(x.raw()) % 16 == 0;
}

bool RunWholeStep(Context& ctx, Step& s) {
  const Batch& batch = *ctx.batch;
  const int64_t n = s.state_dim, rows = s.x.dim(0);
  const int64_t taps = s.conv_x.shape()[1];
  if (rows == 0 || batch.size() != batch.segments() || batch.longest() != 1 ||
      rows > 65535 || taps < 2 || taps > 4 ||
      (n != 32 && n != 64 && n != 128 && n != 256) || !DenseInEights(s.x) ||
      !DenseInEights(s.b) || !DenseInEights(s.c) ||
      s.raw.dtype() != DType::kBF16 || s.raw.stride(1) != 1) {
    return false;
  }
  Sm90Conv1dStepArgs conv;
  Tensor out[3];
  const auto add = [&](const Tensor& x, const Weight& w, const Weight* bias,
                       Tensor* state) {
    Tensor& y = out[conv.count];
    y = Tensor::Empty(x.shape(), DType::kBF16, ctx.device);
    conv.parts[conv.count++] = {cuda::Bf16(x),
                                x.stride(0),
                                w.f32(),
                                bias != nullptr ? bias->f32() : nullptr,
                                state->mutable_data<float>(),
                                cuda::Bf16Out(y),
                                static_cast<int>(x.dim(1))};
  };
  add(s.x, s.conv_x, s.bias_x, s.state_x);
  add(s.b, s.conv_b, s.bias_b, s.state_b);
  add(s.c, s.conv_c, s.bias_c, s.state_c);
  conv.slots = batch.device.slots.data<int32_t>();
  conv.rows = static_cast<int>(rows);
  conv.width = static_cast<int>(taps);
  conv.silu = s.silu;
  cuda::Require(LaunchSm90Conv1dStep(conv, cuda::StreamOf(ctx)), "mamba2");
  s.y = Tensor::Empty(s.x.shape(), DType::kBF16, ctx.device);
  LaunchStep(ctx,
             {out[0], s.raw, out[1], out[2], s.z.defined() ? &s.z : nullptr,
              s.ssm, &s.y},
             s.dt_bias, s.a_log, s.d, s.dt_min, s.dt_max,
             s.x.dim(1) / s.head_dim, s.head_dim, s.b.dim(1) / n, n);
  if (ctx.report != nullptr) {
    ctx.report->Note("mamba2", "sm90_conv1d_step, sm90_mamba2_step");
  }
  return true;
}

// Rows of the pool by slot to rows by sequence, or back.
__global__ void MoveStates(float* pool, float* rows, const int32_t* slots,
                           int64_t entry, int64_t n, bool back) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int32_t slot = slots[i / entry];
  if (slot < 0) return;
  float* kept = pool + slot * entry + i % entry;
  if (back) {
    *kept = rows[i];
  } else {
    rows[i] = *kept;
  }
}

Status SupportsSsd(const Args& a) {
  if (a.dtype != DType::kBF16) return Unsupported("bf16 activations");
  if (a.head_dim() != 64) return Unsupported("heads of 64 channels");
  if (a.state_dim() != 64 && a.state_dim() != 128) {
    return Unsupported("states of 64 or 128 channels");
  }
  return Status::Ok();
}

__global__ void Negative(const float* a_log, float* a, int heads) {
  const int h = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (h < heads) a[h] = -expf(a_log[h]);
}

// −exp(A_log), [H].
Tensor Decays(Context& ctx, const Args& a) {
  Tensor out = Tensor::Empty({a.heads()}, DType::kF32, ctx.device);
  Negative<<<cuda::Blocks(a.heads(), 128), 128, 0, cuda::StreamOf(ctx)>>>(
      a.call.a_log.f32(), out.mutable_data<float>(), a.heads());
  cuda::CheckLaunch("mamba2");
  return out;
}

void RunSsd(Context& ctx, Args& a) {
  const Tensor x = Cast(ctx, a.call.x, DType::kBF16);
  const Tensor b = Cast(ctx, a.call.b, DType::kBF16);
  const Tensor c = Cast(ctx, a.call.c, DType::kBF16);
  const Tensor raw = Cast(ctx, a.call.raw, DType::kF32);
  const Tensor decays = Decays(ctx, a);
  Tensor y = Tensor::Empty(x.shape(), DType::kBF16, ctx.device);
  const int64_t inner = int64_t{a.heads()} * a.head_dim();
  const int64_t shared = int64_t{a.groups()} * a.state_dim();
  const int64_t entry = inner * a.state_dim();
  const int64_t segments = a.batch.segments();
  Tensor states;
  const auto move = [&](bool back) {
    MoveStates<<<cuda::Blocks(segments * entry, 256), 256, 0,
                 cuda::StreamOf(ctx)>>>(
        a.call.state->mutable_data<float>(), states.mutable_data<float>(),
        a.batch.device.slots.data<int32_t>(), entry, segments * entry, back);
    cuda::CheckLaunch("mamba2");
  };
  if (a.call.state != nullptr) {
    states = Tensor::Zeros({segments, entry}, DType::kF32, ctx.device);
    move(false);
  }
  float* carried = states.defined() ? states.mutable_data<float>() : nullptr;
  Sm90SsdForwardArgs args{
      .x = cuda::Bf16(x),
      .dt = raw.data<float>(),
      .b = cuda::Bf16(b),
      .c = cuda::Bf16(c),
      .a = decays.data<float>(),
      .d = a.call.d.f32(),
      .dt_bias = a.call.dt_bias.f32(),
      .y = cuda::Bf16Out(y),
      .initial_state = carried,
      .final_state = carried,
      .cu_seqlens = a.batch.device.cu_seqlens.data<int32_t>(),
      .sequences = static_cast<int>(segments),
      .tokens = static_cast<int>(x.dim(0)),
      .max_seqlen = static_cast<int>(a.batch.longest()),
      .heads = a.heads(),
      .groups = a.groups(),
      .head_dim = a.head_dim(),
      .state_dim = a.state_dim(),
      .x_stride = inner,
      .dt_stride = a.heads(),
      .b_stride = shared,
      .c_stride = shared,
      .y_stride = inner,
      .softplus = true,
      .dt_min = a.call.dt_min,
      .dt_max = a.call.dt_max};
  const Tensor workspace = ctx.Workspace(Sm90SsdForwardWorkspace(args));
  args.workspace = const_cast<std::byte*>(workspace.raw());
  cuda::Require(Sm90SsdForward(args, cuda::StreamOf(ctx)), "mamba2");
  if (a.call.state != nullptr) move(true);
  a.call.y = Cast(ctx, y, a.call.x.dtype());
}

constexpr Kernel<Args> kRecurrence[] = {
    {"sm90_mamba2_step", SupportsStep, RunStep},
    {"sm90_ssd_forward", SupportsSsd, RunSsd},
    {"plain", [](const Args&) { return Status::Ok(); },
     [](Context&, Args& a) { a.call.y = a.call.composed(); }},
};

void Recur(Context& ctx, Recurrence& call) {
  Args args{call, *ctx.batch, ctx.dtype};
  CHECK(args.batch.device.positions.defined()) << "the batch is not uploaded";
  if (call.x.numel() == 0) {
    call.y = call.x;
    return;
  }
  RunFirst(ctx, ctx.report, "mamba2", kRecurrence, args);
}

constexpr Kernels kKernels = {.discretize = Discretize,
                              .add_skip = AddSkip,
                              .recurrence = Recur,
                              .step = RunWholeStep,
                              .discretize_gradients = DiscretizeGradients,
                              .dots = Dots,
                              .scale_heads = ScaleHeads,
                              .sum_rows = SumRows};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::mamba2_cuda
