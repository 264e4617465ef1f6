// The recurrence as an op: its device, its tasks and its gradient.
#include <algorithm>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/rg_lru/rg_lru.h"
#include "intarsia/mixers/rg_lru/rg_lru_cuda.h"
#include "intarsia/mixers/rg_lru/rg_lru_kernels.h"
#include "intarsia/ops/common/rows.h"

namespace intarsia {
namespace {

// Contiguous inputs and pointers to them.
struct Call {
  Tensor x, r, g;
  rg_lru::Args args;

  explicit Call(const RgLruInputs& in)
      : x(in.x.Contiguous()), r(in.r.Contiguous()), g(in.g.Contiguous()) {
    args.channels = x.dim(1);
    args.x = x.data<float>();
    args.r = r.data<float>();
    args.g = g.data<float>();
    args.param = in.param.f32();
    args.r_bias = in.r_bias.f32();
    args.g_bias = in.g_bias.f32();
  }
};

void CheckArguments(const Context& ctx, const RgLruInputs& in,
                    const Tensor* states) {
  const int64_t inner = in.x.dim(1);
  CHECK_EQ(in.x.dim(0), ctx.batch->size());
  CHECK(in.r.shape() == in.x.shape() && in.g.shape() == in.x.shape())
      << "x " << in.x.shape() << ", r " << in.r.shape() << ", g "
      << in.g.shape();
  for (const Weight* w : {&in.param, &in.r_bias, &in.g_bias}) {
    CHECK(w->shape() == Shape({inner})) << w->spec().name << w->shape();
  }
  if (states == nullptr) return;
  CHECK(ctx.tape == nullptr) << "recording starts from zero state";
  CHECK(states->rank() == 2 && states->contiguous() && states->dim(1) == inner)
      << "states " << states->shape();
}

// body(c0, c1) for every block of channels.
template <typename Body>
void EachBlock(const Context& ctx, int64_t channels, const Body& body) {
  const int64_t blocks = (channels + rg_lru::kBlock - 1) / rg_lru::kBlock;
  ForRange(ctx.pool, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      body(k * rg_lru::kBlock, std::min(channels, (k + 1) * rg_lru::kBlock));
    }
  });
}

struct CoreGradients {
  Tensor x, r, g, param, r_bias, g_bias;
};

CoreGradients Vjp(Context& ctx, const Call& call, const Tensor& h,
                  const Tensor& dh) {
  const int64_t inner = call.args.channels;
  CoreGradients grad;
  for (Tensor* t : {&grad.x, &grad.r, &grad.g}) *t = Tensor::Empty(dh.shape());
  for (Tensor* t : {&grad.param, &grad.r_bias, &grad.g_bias}) {
    *t = Tensor::Empty({inner});
  }
  const rg_lru::Gradients to = {.h = h.data<float>(),
                                .dh = dh.data<float>(),
                                .x = grad.x.mutable_data<float>(),
                                .r = grad.r.mutable_data<float>(),
                                .g = grad.g.mutable_data<float>(),
                                .param = grad.param.mutable_data<float>(),
                                .r_bias = grad.r_bias.mutable_data<float>(),
                                .g_bias = grad.g_bias.mutable_data<float>()};
  EachBlock(ctx, inner, [&](int64_t c0, int64_t c1) {
    rg_lru::RecurBackward(*ctx.batch, call.args, c0, c1, to);
  });
  return grad;
}

}  // namespace

Tensor RgLruCore(Context& ctx, const RgLruInputs& in, Tensor* states) {
  const OpDoor<rg_lru_cuda::Kernels> door = {
      "rg_lru", "rg_lru", rg_lru_cuda::kernels, Differentiable::kOnCpu};
  CheckArguments(ctx, in, states);
  const auto cpu = [&] {
    const Call call(in);
    Tensor h = Tensor::Empty(call.x.shape());
    float* out = h.mutable_data<float>();
    float* kept = states ? states->mutable_data<float>() : nullptr;
    EachBlock(ctx, call.args.channels, [&](int64_t c0, int64_t c1) {
      rg_lru::Recur(*ctx.batch, call.args, c0, c1, kept, out);
    });
    return h;
  };
  const auto cuda = [&](const rg_lru_cuda::Kernels& kernels) {
    return kernels.recur(ctx, in, states);
  };
  const Weight *param = &in.param, *r_bias = &in.r_bias, *g_bias = &in.g_bias;
  const auto vjp = [=, x = in.x, r = in.r, g = in.g,
                    tape = ctx.tape](const Tensor& h) -> Tape::BackwardFn {
    return [=](Context& back, const std::vector<Tensor>& given) {
      const Call call({x, r, g, *param, *r_bias, *g_bias});
      const CoreGradients grad = Vjp(back, call, h, given[0].Contiguous());
      const auto queue = [&](const Weight* w, const Tensor& value) {
        tape->QueueWeightGradient(*w, back,
                                  [value](Context&) { return value; });
      };
      queue(param, grad.param);
      queue(r_bias, grad.r_bias);
      queue(g_bias, grad.g_bias);
      return std::vector<Tensor>{grad.x, grad.r, grad.g};
    };
  };
  return Run(ctx, door, in.x.device(), {in.x, in.r, in.g}, cpu, cuda, vjp);
}

}  // namespace intarsia
