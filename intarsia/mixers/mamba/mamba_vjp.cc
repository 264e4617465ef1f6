// The selective scan as an op: its device, its tasks and its gradient.
#include <algorithm>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/mamba/mamba.h"
#include "intarsia/mixers/mamba/mamba_cuda.h"
#include "intarsia/mixers/mamba/mamba_kernels.h"
#include "intarsia/ops/common/rows.h"

namespace intarsia {
namespace {

// Contiguous inputs and pointers to them.
struct Call {
  Tensor x, dt, b, c, z;
  mamba::Args args;

  explicit Call(const SelectiveScanInputs& in)
      : x(in.x.Contiguous()),
        dt(in.dt.Contiguous()),
        b(in.b.Contiguous()),
        c(in.c.Contiguous()),
        z(in.z.defined() ? in.z.Contiguous() : Tensor()) {
    args.channels = x.dim(1);
    args.states = b.dim(1);
    args.x = x.data<float>();
    args.dt = dt.data<float>();
    args.b = b.data<float>();
    args.c = c.data<float>();
    args.z = z.defined() ? z.data<float>() : nullptr;
    args.a_log = in.a_log.f32();
    args.d = in.d.f32();
    args.dt_bias = in.dt_bias.f32();
  }
};

void CheckArguments(const Context& ctx, const SelectiveScanInputs& in,
                    const Tensor* states) {
  const int64_t rows = in.x.dim(0), inner = in.x.dim(1), n = in.b.dim(1);
  CHECK_EQ(rows, ctx.batch->size());
  CHECK(in.dt.shape() == in.x.shape() && in.c.shape() == in.b.shape() &&
        in.b.dim(0) == rows &&
        (!in.z.defined() || in.z.shape() == in.x.shape()))
      << "x " << in.x.shape() << ", dt " << in.dt.shape() << ", B "
      << in.b.shape() << ", C " << in.c.shape();
  CHECK(in.a_log.shape() == Shape({inner, n}) &&
        in.d.shape() == Shape({inner}) && in.dt_bias.shape() == Shape({inner}))
      << "A_log " << in.a_log.shape();
  if (states == nullptr) return;
  CHECK(ctx.tape == nullptr) << "recording starts from zero state";
  CHECK(states->rank() == 3 && states->contiguous() &&
        states->dim(1) == inner && states->dim(2) == n)
      << "states " << states->shape();
}

int64_t Blocks(int64_t channels) {
  return (channels + mamba::kBlock - 1) / mamba::kBlock;
}

// Sums of [blocks, n] over the blocks, in double and in order.
Tensor SumBlocks(Context& ctx, const Tensor& parts, const Shape& shape) {
  Tensor sum = Tensor::Empty(shape);
  const int64_t n = shape.numel(), blocks = parts.dim(0);
  SumColumns(ctx.pool, blocks, n, sum.mutable_data<float>(),
             [&](int64_t k, int64_t begin, int64_t end, double* acc) {
               const float* from = parts.data<float>() + k * n;
               for (int64_t i = begin; i < end; ++i) acc[i - begin] += from[i];
             });
  return sum;
}

struct ScanGradients {
  Tensor x, dt, b, c, z, a_log, d, dt_bias;
};

ScanGradients ScanVjp(Context& ctx, const Call& call, const Tensor& dy) {
  const int64_t inner = call.args.channels, n = call.args.states;
  const int64_t rows = call.x.dim(0), blocks = Blocks(inner);
  ScanGradients g;
  g.x = Tensor::Empty(call.x.shape());
  g.dt = Tensor::Empty(call.x.shape());
  if (call.z.defined()) g.z = Tensor::Empty(call.x.shape());
  g.a_log = Tensor::Empty({inner, n});
  g.d = Tensor::Empty({inner});
  g.dt_bias = Tensor::Empty({inner});
  Tensor db = Tensor::Empty({blocks, rows, n});
  Tensor dc = Tensor::Empty({blocks, rows, n});
  ForRange(ctx.pool, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const mamba::Gradients to = {
          .y = dy.data<float>(),
          .x = g.x.mutable_data<float>(),
          .dt = g.dt.mutable_data<float>(),
          .z = g.z.defined() ? g.z.mutable_data<float>() : nullptr,
          .b = db.mutable_data<float>() + k * rows * n,
          .c = dc.mutable_data<float>() + k * rows * n,
          .a_log = g.a_log.mutable_data<float>(),
          .d = g.d.mutable_data<float>(),
          .dt_bias = g.dt_bias.mutable_data<float>()};
      mamba::ScanBackward(*ctx.batch, call.args, k * mamba::kBlock,
                          std::min(inner, (k + 1) * mamba::kBlock), to);
    }
  });
  g.b = SumBlocks(ctx, db, {rows, n});
  g.c = SumBlocks(ctx, dc, {rows, n});
  return g;
}

}  // namespace

Tensor SelectiveScan(Context& ctx, const SelectiveScanInputs& in,
                     Tensor* states) {
  const OpDoor<mamba_cuda::Kernels> door = {
      "selective_scan", "mamba", mamba_cuda::kernels, Differentiable::kOnCpu};
  CheckArguments(ctx, in, states);
  std::vector<Tensor> inputs = {in.x, in.dt, in.b, in.c};
  if (in.z.defined()) inputs.push_back(in.z);
  const auto cpu = [&] {
    const Call call(in);
    Tensor y = Tensor::Empty(call.x.shape());
    float* out = y.mutable_data<float>();
    float* kept = states ? states->mutable_data<float>() : nullptr;
    const int64_t inner = call.args.channels;
    ForRange(ctx.pool, Blocks(inner), 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        mamba::Scan(*ctx.batch, call.args, k * mamba::kBlock,
                    std::min(inner, (k + 1) * mamba::kBlock), kept, out);
      }
    });
    return y;
  };
  const auto cuda = [&](const mamba_cuda::Kernels& kernels) {
    return kernels.scan(ctx, in, states);
  };
  const Weight *a_log = &in.a_log, *d = &in.d, *dt_bias = &in.dt_bias;
  return Run(ctx, door, in.x.device(), inputs, cpu, cuda,
             [=, x = in.x, dt = in.dt, b = in.b, c = in.c, z = in.z,
              tape = ctx.tape](Context& back, const std::vector<Tensor>& dy) {
               const Call call({x, dt, b, c, z, *a_log, *d, *dt_bias});
               const ScanGradients g = ScanVjp(back, call, dy[0].Contiguous());
               const auto queue = [&](const Weight* w, const Tensor& value) {
                 tape->QueueWeightGradient(*w, back,
                                           [value](Context&) { return value; });
               };
               queue(a_log, g.a_log);
               queue(d, g.d);
               queue(dt_bias, g.dt_bias);
               std::vector<Tensor> out = {g.x, g.dt, g.b, g.c};
               if (z.defined()) out.push_back(g.z);
               return out;
             });
}

}  // namespace intarsia
