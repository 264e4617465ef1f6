// The plain selective scan, a thread a channel; and the list of kernels.
#include "intarsia/core/kernel_report.h"
#include "intarsia/cuda/room.cuh"
#include "intarsia/mixers/mamba/mamba_cuda.h"
#include "intarsia/mixers/mamba/sm90_selective_scan.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::mamba_cuda {
namespace {

struct Args {
  const SelectiveScanInputs& in;
  const Batch& batch;
  DType dtype;
  Tensor* states;
  Tensor y;

  int64_t tokens() const { return in.x.dim(0); }
  int64_t channels() const { return in.x.dim(1); }
  int64_t state_dim() const { return in.b.dim(1); }
};

__global__ void Negative(const float* a_log, float* a, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) a[i] = -expf(a_log[i]);
}

Tensor Rates(Context& ctx, const Args& a) {
  const int64_t n = a.channels() * a.state_dim();
  Tensor out =
      Tensor::Empty({a.channels(), a.state_dim()}, DType::kF32, ctx.device);
  Negative<<<cuda::Blocks(n, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      a.in.a_log.f32(), out.mutable_data<float>(), n);
  cuda::CheckLaunch("mamba");
  return out;
}

Status SupportsTuned(const Args& a) {
  if (a.dtype != DType::kBF16) return Unsupported("bf16 activations");
  if (a.state_dim() != 16) return Unsupported("16 states a channel");
  if (a.channels() % 2 != 0) return Unsupported("an even number of channels");
  return Status::Ok();
}

void RunTuned(Context& ctx, Args& a) {
  const auto bf16 = [&](const Tensor& t) {
    return Cast(ctx, t.Contiguous(), DType::kBF16);
  };
  const Tensor x = bf16(a.in.x), dt = bf16(a.in.dt);
  const Tensor b = bf16(a.in.b), c = bf16(a.in.c);
  const Tensor z = a.in.z.defined() ? bf16(a.in.z) : Tensor();
  const Tensor rates = Rates(ctx, a);
  Tensor y = Tensor::Empty(x.shape(), DType::kBF16, ctx.device);
  const int64_t channels = a.channels(), states = a.state_dim();
  Sm90SelectiveScanArgs args;
  args.x = cuda::Bf16(x);
  args.dt = cuda::Bf16(dt);
  args.b = cuda::Bf16(b);
  args.c = cuda::Bf16(c);
  args.z = z.defined() ? cuda::Bf16(z) : nullptr;
  args.a = rates.data<float>();
  args.d = a.in.d.f32();
  args.dt_bias = a.in.dt_bias.f32();
  args.cu_seqlens = a.batch.device.cu_seqlens.data<int32_t>();
  args.sequences = static_cast<int>(a.batch.segments());
  args.tokens = static_cast<int>(a.tokens());
  args.channels = static_cast<int>(channels);
  args.state_dim = static_cast<int>(states);
  args.x_stride = args.dt_stride = args.z_stride = channels;
  args.b_stride = args.c_stride = states;
  args.out = cuda::Bf16Out(y);
  args.out_stride = channels;
  if (a.states != nullptr) {
    args.state = a.states->mutable_data<float>();
    args.slots = a.batch.device.slots.data<int32_t>();
    args.slot_stride = channels * states;
  }
  cuda::Require(LaunchSm90SelectiveScan(args, cuda::StreamOf(ctx)), "mamba");
  a.y = Cast(ctx, y, DType::kF32);
}

struct Plain {
  const float *x, *dt, *b, *c, *z, *a, *d, *dt_bias;
  const int32_t *cu_seqlens, *slots;
  float *states, *y;
  int channels, state_dim;
  bool by_slot;  // else `states` has an entry a segment, zero at first
};

__global__ void Scan(Plain p) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= p.channels) return;
  const int segment = static_cast<int>(blockIdx.y);
  const int slot = p.by_slot ? p.slots[segment] : segment;
  const int begin = p.cu_seqlens[segment], end = p.cu_seqlens[segment + 1];
  if (slot < 0) {  // padding
    for (int t = begin; t < end; ++t) p.y[int64_t{t} * p.channels + i] = 0.0f;
    return;
  }
  float* h = p.states + (int64_t{slot} * p.channels + i) * p.state_dim;
  const float* a = p.a + int64_t{i} * p.state_dim;
  for (int t = begin; t < end; ++t) {
    const int64_t at = int64_t{t} * p.channels + i;
    const float raw = p.dt[at] + p.dt_bias[i], x = p.x[at];
    const float step = raw > 20.0f ? raw : log1pf(expf(raw));
    float sum = p.d[i] * x;
    for (int n = 0; n < p.state_dim; ++n) {
      const int64_t shared = int64_t{t} * p.state_dim + n;
      h[n] = expf(step * a[n]) * h[n] + step * x * p.b[shared];
      sum += p.c[shared] * h[n];
    }
    if (p.z != nullptr) sum *= p.z[at] / (1.0f + expf(-p.z[at]));
    p.y[at] = sum;
  }
}

void RunPlain(Context& ctx, Args& a) {
  const Tensor x = a.in.x.Contiguous(), dt = a.in.dt.Contiguous();
  const Tensor b = a.in.b.Contiguous(), c = a.in.c.Contiguous();
  const Tensor z = a.in.z.defined() ? a.in.z.Contiguous() : Tensor();
  const Tensor rates = Rates(ctx, a);
  Tensor own;
  if (a.states == nullptr) {
    own = Tensor::Zeros({a.batch.segments(), a.channels(), a.state_dim()},
                        DType::kF32, ctx.device);
  }
  a.y = Tensor::Empty(x.shape(), DType::kF32, ctx.device);
  const Plain p = {.x = x.data<float>(),
                   .dt = dt.data<float>(),
                   .b = b.data<float>(),
                   .c = c.data<float>(),
                   .z = z.defined() ? z.data<float>() : nullptr,
                   .a = rates.data<float>(),
                   .d = a.in.d.f32(),
                   .dt_bias = a.in.dt_bias.f32(),
                   .cu_seqlens = a.batch.device.cu_seqlens.data<int32_t>(),
                   .slots = a.batch.device.slots.data<int32_t>(),
                   .states = (a.states ? *a.states : own).mutable_data<float>(),
                   .y = a.y.mutable_data<float>(),
                   .channels = static_cast<int>(a.channels()),
                   .state_dim = static_cast<int>(a.state_dim()),
                   .by_slot = a.states != nullptr};
  const dim3 grid(cuda::Blocks(a.channels(), 64),
                  static_cast<unsigned>(a.batch.segments()));
  Scan<<<grid, 64, 0, cuda::StreamOf(ctx)>>>(p);
  cuda::CheckLaunch("mamba");
}

constexpr Kernel<Args> kScan[] = {
    {"sm90_selective_scan", SupportsTuned, RunTuned},
    {"plain", [](const Args&) { return Status::Ok(); }, RunPlain},
};

Tensor RunScan(Context& ctx, const SelectiveScanInputs& in, Tensor* states) {
  Args args{in, *ctx.batch, ctx.dtype, states, Tensor()};
  CHECK(args.batch.device.positions.defined()) << "the batch is not uploaded";
  if (in.x.numel() == 0) return in.x;
  RunFirst(ctx, ctx.report, "mamba", kScan, args);
  return args.y;
}

constexpr Kernels kKernels = {.scan = RunScan};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::mamba_cuda
