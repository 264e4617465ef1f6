#include "intarsia/mixers/common/gated_linear.h"

#include <algorithm>
#include <limits>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/common/gated_linear_cuda.h"
#include "intarsia/mixers/common/gated_linear_kernels.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {
namespace {

using gated_linear::Args;

void CheckShapes(const Context& ctx, const Tensor& q, const Tensor& k,
                 const Tensor& v, const Tensor& log_decay) {
  CHECK(ctx.batch != nullptr && ctx.pool != nullptr);
  const int64_t tokens = ctx.batch->size();
  CHECK(q.rank() == 3 && q.shape() == k.shape() && v.rank() == 3)
      << "q " << q.shape() << ", k " << k.shape() << ", v " << v.shape();
  CHECK(q.dim(0) == tokens && v.dim(0) == tokens)
      << tokens << " tokens, q " << q.shape() << ", v " << v.shape();
  CHECK(q.dim(1) > 0 && v.dim(1) % q.dim(1) == 0)
      << v.dim(1) << " heads in " << q.dim(1) << " groups";
  CHECK(log_decay.shape() == Shape({v.dim(1)}) ||
        log_decay.shape() == Shape({tokens, v.dim(1)}))
      << "log decay " << log_decay.shape() << ", v " << v.shape();
}

using gated_linear_cuda::Kernels;

OpDoor<Kernels> Door() {
  return {"gated_linear", "gated_linear", gated_linear_cuda::kernels};
}

// Holds the contiguous tensors that Args points into.
struct Inputs {
  Inputs(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& a,
         const GatedLinearOptions& options)
      : q(q.Contiguous()),
        k(k.Contiguous()),
        v(v.Contiguous()),
        a(a.Contiguous()) {
    args.heads = v.dim(1);
    args.groups = q.dim(1);
    args.key_dim = q.dim(2);
    args.value_dim = v.dim(2);
    args.scale = options.scale;
    args.value_major = options.value_major;
    args.q = this->q.data<float>();
    args.k = this->k.data<float>();
    args.v = this->v.data<float>();
    args.a = this->a.data<float>();
    args.a_stride = a.rank() == 2 ? v.dim(1) : 0;
  }
  Tensor q, k, v, a;
  Args args;
};

Shape StateShape(const Tensor& q, const Tensor& v, bool value_major,
                 int64_t count) {
  const int64_t keys = q.dim(2), values = v.dim(2);
  return value_major ? Shape({count, v.dim(1), values, keys})
                     : Shape({count, v.dim(1), keys, values});
}

GatedLinearPlan PlanOf(const Context& ctx, const GatedLinearOptions& options) {
  return PlanGatedLinear(*ctx.batch, ctx.form,
                         ctx.chunk > 0 ? ctx.chunk : options.chunk);
}

std::span<const GatedLinearPlan::Chunk> ChunksOf(const GatedLinearPlan& plan,
                                                 int64_t n) {
  return std::span(plan.chunks)
      .subspan(plan.first[n], plan.first[n + 1] - plan.first[n]);
}

// Runs all segments; `in(n)` and `out(n)` are segment n's states, `decay` is
// [N, H] or null. A task takes a few heads of a group, which share q kᵀ.
template <typename In, typename Out>
void RunSegments(const Context& ctx, const Args& args,
                 const GatedLinearPlan& plan, const In& in,
                 const Out& out_state, float* out, float* decay) {
  const int64_t per_group = args.heads / args.groups;
  const int64_t per_task = std::min<int64_t>(per_group, 4);
  const int64_t blocks = (per_group + per_task - 1) / per_task;
  const int64_t segments = static_cast<int64_t>(plan.first.size()) - 1;
  // Work of one row of one head, in multiply-adds, and rows a segment.
  const int64_t work =
      args.state_size() * 2 * per_task *
      std::max<int64_t>(1, ctx.batch->size() / std::max<int64_t>(1, segments));
  const int64_t grain = std::max<int64_t>(1, 32768 / work);
  ctx.pool->For(
      segments * args.groups * blocks, grain, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t n = task / (args.groups * blocks);
          const int64_t g = task / blocks % args.groups;
          const int64_t h0 = g * per_group + task % blocks * per_task;
          const int64_t h1 = std::min(h0 + per_task, (g + 1) * per_group);
          gated_linear::Forward(args, ChunksOf(plan, n), h0, h1, in(n),
                                out_state(n), out,
                                decay ? decay + n * args.heads : nullptr);
        }
      });
}

// Adds the heads of each group, in order: [T, H, K] → [T, G, K].
Tensor SumHeads(ThreadPool& pool, const Tensor& x, int64_t groups) {
  const int64_t rows = x.dim(0), heads = x.dim(1), dim = x.dim(2);
  if (heads == groups) return x;
  Tensor sum = Tensor::Zeros({rows, groups, dim});
  const float* in = x.data<float>();
  float* out = sum.mutable_data<float>();
  pool.For(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t g = h / (heads / groups);
        for (int64_t i = 0; i < dim; ++i) {
          out[(t * groups + g) * dim + i] += in[(t * heads + h) * dim + i];
        }
      }
    }
  });
  return sum;
}

// The gradient of a decay that is the same for all tokens: their sum.
Tensor SumRows(const Tensor& x) {
  const int64_t rows = x.dim(0), columns = x.dim(1);
  std::vector<double> sum(columns, 0.0);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t h = 0; h < columns; ++h) {
      sum[h] += x.data<float>()[t * columns + h];
    }
  }
  return Tensor::From(std::vector<float>(sum.begin(), sum.end()), {columns});
}

const float* DataOrNull(const Tensor& x) {
  return x.defined() ? x.data<float>() : nullptr;
}

std::vector<Tensor> Backward(const Context& ctx, const Inputs& inputs,
                             const Tensor& state_in,
                             const GatedLinearPlan& plan,
                             const std::vector<Tensor>& gradients) {
  const Args& args = inputs.args;
  const int64_t tokens = inputs.v.dim(0), H = args.heads;
  const int64_t segments = static_cast<int64_t>(plan.first.size()) - 1;
  std::vector<Tensor> given;
  for (const Tensor& g : gradients) {
    given.push_back(g.defined() ? g.Contiguous() : g);
  }
  Tensor dq = Tensor::Empty({tokens, H, args.key_dim});
  Tensor dk = Tensor::Empty({tokens, H, args.key_dim});
  Tensor dv = Tensor::Empty(inputs.v.shape());
  Tensor da = Tensor::Empty({tokens, H});
  Tensor ds;
  if (state_in.defined()) ds = Tensor::Empty(state_in.shape());
  const int64_t state = H * args.state_size();
  auto at = [](const float* base, int64_t offset) {
    return base ? base + offset : nullptr;
  };
  ctx.pool->Run(segments * H, [&](int64_t task) {
    const int64_t n = task / H;
    gated_linear::Gradients g;
    g.out = DataOrNull(given[0]);
    g.state = at(DataOrNull(given[1]), n * state);
    g.decay = at(DataOrNull(given[2]), n * H);
    g.q = dq.mutable_data<float>();
    g.k = dk.mutable_data<float>();
    g.v = dv.mutable_data<float>();
    g.a = da.mutable_data<float>();
    if (ds.defined()) g.state_in = ds.mutable_data<float>() + n * state;
    gated_linear::Backward(args, ChunksOf(plan, n), task % H,
                           at(DataOrNull(state_in), n * state), g);
  });
  return {SumHeads(*ctx.pool, dq, args.groups),
          SumHeads(*ctx.pool, dk, args.groups), dv,
          args.a_stride == 0 ? SumRows(da) : da, ds};
}

GatedLinearResult OnCpu(const Context& ctx, const Inputs& inputs,
                        const Tensor& initial, const Shape& state,
                        const GatedLinearOptions& options) {
  const Args& args = inputs.args;
  GatedLinearResult result{Tensor::Empty(inputs.v.shape()),
                           Tensor::Empty(state),
                           Tensor::Empty({state[0], args.heads})};
  const int64_t size = args.heads * args.state_size();
  const float* first = DataOrNull(initial);
  float* last = result.state.mutable_data<float>();
  RunSegments(
      ctx, args, PlanOf(ctx, options),
      [&](int64_t n) { return first ? first + n * size : nullptr; },
      [&](int64_t n) { return last + n * size; },
      result.out.mutable_data<float>(), result.decay.mutable_data<float>());
  return result;
}

GatedLinearResult OnCuda(Context& ctx, const Kernels& cuda,
                         const Inputs& inputs, const Tensor& initial,
                         const Shape& state,
                         const GatedLinearOptions& options) {
  GatedLinearResult result;
  result.state = Tensor::Empty(state, DType::kF32, inputs.v.device());
  result.out = cuda.recurrent(ctx, inputs.q, inputs.k, inputs.v, inputs.a,
                              nullptr, initial, &result.state, options);
  result.decay = cuda.total_decay(ctx, inputs.a);
  return result;
}

Tensor InPlaceOnCpu(const Context& ctx, const Inputs& inputs, Tensor* states,
                    const GatedLinearOptions& options) {
  const Args& args = inputs.args;
  const Batch& batch = *ctx.batch;
  int64_t padding = 0;
  for (int64_t n = 0; n < batch.segments(); ++n) {
    CHECK(batch.slots[n] >= -1 && batch.slots[n] < states->dim(0))
        << "slot " << batch.slots[n] << " of " << states->dim(0);
    padding += batch.slots[n] < 0;
  }
  Tensor out = Tensor::Empty(inputs.v.shape());
  const int64_t size = args.heads * args.state_size();
  float* base = states->mutable_data<float>();
  // Padding works on states that are thrown away.
  std::vector<float> thrown(padding > 0 ? batch.segments() * size : 0, 0.0f);
  auto slot = [&](int64_t n) {
    return batch.slots[n] < 0 ? thrown.data() + n * size
                              : base + batch.slots[n] * size;
  };
  RunSegments(ctx, args, PlanOf(ctx, options), slot, slot,
              out.mutable_data<float>(), nullptr);
  return out;
}

// A gradient on a GPU; a constant decay has its own on the host.
std::vector<Tensor> BackwardOnCuda(Context& ctx, const Kernels& cuda,
                                   const Inputs& inputs, const Tensor& initial,
                                   const GatedLinearResult& result,
                                   const GatedLinearOptions& options,
                                   const std::vector<Tensor>& gradients) {
  std::vector<Tensor> out =
      cuda.gradients(ctx, inputs.q, inputs.k, inputs.v, inputs.a, initial,
                     result, gradients, options);
  if (inputs.a.rank() == 1) out[3] = SumRows(out[3].To(Cpu()));
  return out;
}

}  // namespace

GatedLinearPlan PlanGatedLinear(const Batch& batch, Form form, int chunk) {
  CHECK_GT(chunk, 0);
  // A parallel form is one chunk, a recurrent form has chunks of one row. A
  // segment of length 1 is a chunk of one row in any form.
  GatedLinearPlan plan;
  plan.first.push_back(0);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      const bool same =
          t > batch.begin(n) && form != Form::kRecurrent &&
          (form == Form::kParallel ||
           batch.positions[t] / chunk == batch.positions[t - 1] / chunk);
      const int32_t row = static_cast<int32_t>(t);
      if (same) {
        plan.chunks.back().end = row + 1;
      } else {
        plan.chunks.push_back({row, row + 1});
      }
      plan.longest = std::max(
          plan.longest, plan.chunks.back().end - plan.chunks.back().begin);
    }
    plan.first.push_back(static_cast<int32_t>(plan.chunks.size()));
  }
  return plan;
}

GatedLinearResult GatedLinear(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const Tensor& log_decay,
                              const Tensor& state_in,
                              const GatedLinearOptions& options) {
  CheckShapes(ctx, q, k, v, log_decay);
  const int64_t segments = ctx.batch->segments();
  const Shape shape = StateShape(q, v, options.value_major, segments);
  const Tensor initial = state_in.defined() ? state_in.Contiguous() : state_in;
  if (initial.defined()) {
    CHECK(initial.shape() == shape)
        << "state " << initial.shape() << ", want " << shape;
  }
  const Inputs inputs(q, k, v, log_decay, options);
  return Run(
      ctx, Door(), v.device(), {q, k, v, log_decay, state_in},
      [&] { return OnCpu(ctx, inputs, initial, shape, options); },
      [&](const Kernels& cuda) {
        return OnCuda(ctx, cuda, inputs, initial, shape, options);
      },
      [&](const GatedLinearResult& result) -> Tape::BackwardFn {
        return [=](Context& back, const std::vector<Tensor>& gradients) {
          return OnDevice(
              inputs.v.device(), Door(),
              [&] {
                // The gradient always comes from the chunked form.
                Context chunked = back;
                chunked.form = Form::kChunked;
                return Backward(back, inputs, initial, PlanOf(chunked, options),
                                gradients);
              },
              [&](const Kernels& cuda) {
                return BackwardOnCuda(back, cuda, inputs, initial, result,
                                      options, gradients);
              });
        };
      });
}

Tensor GatedLinearInPlace(Context& ctx, const Tensor& q, const Tensor& k,
                          const Tensor& v, const Tensor& log_decay,
                          Tensor* states, const GatedLinearOptions& options) {
  if (ctx.tape != nullptr) {
    for (int64_t n = 0; n < ctx.batch->segments(); ++n) {
      CHECK_EQ(ctx.batch->slots[n], n) << "on a tape states lie by segment";
    }
    GatedLinearResult result =
        GatedLinear(ctx, q, k, v, log_decay, *states, options);
    *states = result.state;
    return result.out;
  }
  CheckShapes(ctx, q, k, v, log_decay);
  const Shape shape = StateShape(q, v, options.value_major, states->dim(0));
  CHECK(states->contiguous() && states->shape() == shape)
      << "states " << states->shape() << ", want " << shape;
  const Inputs inputs(q, k, v, log_decay, options);
  return OnDevice(
      v.device(), Door(),
      [&] { return InPlaceOnCpu(ctx, inputs, states, options); },
      [&](const Kernels& cuda) {
        return cuda.recurrent(ctx, inputs.q, inputs.k, inputs.v, inputs.a,
                              states, Tensor(), nullptr, options);
      });
}

Tensor SplitHeads(Context& ctx, const Tensor& x, int64_t channels) {
  return ReshapeView(ctx, x, {x.dim(0), x.dim(1) / channels, channels});
}

}  // namespace intarsia
