#include "intarsia/mixers/common/delta_rule.h"

#include <algorithm>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/common/delta_rule_cuda.h"
#include "intarsia/mixers/common/delta_rule_kernels.h"
#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia {
namespace {

using delta_rule::Args;

const OpDoor<delta_rule_cuda::Kernels> kDoor = {"delta_rule", "delta_rule",
                                                delta_rule_cuda::kernels,
                                                Differentiable::kOnCpu};

void CheckShapes(const Context& ctx, const DeltaRuleInputs& in) {
  CHECK(ctx.batch != nullptr && ctx.pool != nullptr);
  const int64_t tokens = ctx.batch->size();
  CHECK(in.q.rank() == 3 && in.q.shape() == in.k.shape() && in.v.rank() == 3)
      << "q " << in.q.shape() << ", k " << in.k.shape() << ", v "
      << in.v.shape();
  CHECK(in.q.dim(0) == tokens && in.v.dim(0) == tokens)
      << tokens << " tokens, q " << in.q.shape() << ", v " << in.v.shape();
  const int64_t heads = in.v.dim(1);
  CHECK(in.q.dim(1) > 0 && heads % in.q.dim(1) == 0)
      << heads << " heads in " << in.q.dim(1) << " groups";
  const Shape by_key({tokens, heads, in.q.dim(2)});
  for (const Tensor* x : {&in.erase, &in.removal}) {
    CHECK(!x->defined() || x->shape() == by_key) << x->shape();
  }
  CHECK(in.erase.defined() || !in.removal.defined());
  CHECK(!in.log_decay.defined() || in.log_decay.shape() == by_key ||
        in.log_decay.shape() == Shape({tokens, heads}))
      << "log decay " << in.log_decay.shape() << ", v " << in.v.shape();
}

Tensor ContiguousOrNone(const Tensor& x) {
  return x.defined() ? x.Contiguous() : x;
}

DeltaRuleInputs Contiguous(const DeltaRuleInputs& in) {
  return {.q = in.q.Contiguous(),
          .k = in.k.Contiguous(),
          .v = in.v.Contiguous(),
          .erase = ContiguousOrNone(in.erase),
          .removal = ContiguousOrNone(in.removal),
          .log_decay = ContiguousOrNone(in.log_decay)};
}

const float* DataOrNull(const Tensor& x) {
  return x.defined() ? x.data<float>() : nullptr;
}

// Points into `in`, all contiguous.
Args ArgsOf(const DeltaRuleInputs& in, const DeltaRuleOptions& options) {
  Args args;
  args.heads = in.v.dim(1);
  args.groups = in.q.dim(1);
  args.key_dim = in.q.dim(2);
  args.value_dim = in.v.dim(2);
  args.scale = options.scale;
  args.before = options.before;
  args.erase_before = options.erase_before;
  args.q = in.q.data<float>();
  args.k = in.k.data<float>();
  args.v = in.v.data<float>();
  args.erase = DataOrNull(in.erase);
  args.removal = DataOrNull(in.removal);
  args.decay = DataOrNull(in.log_decay);
  if (in.log_decay.defined()) {
    args.decay_dim = in.log_decay.rank() == 3 ? in.q.dim(2) : 1;
  }
  return args;
}

GatedLinearPlan PlanOf(const Context& ctx, Form form,
                       const DeltaRuleOptions& options) {
  return PlanGatedLinear(*ctx.batch, form,
                         ctx.chunk > 0 ? ctx.chunk : options.chunk);
}

std::span<const GatedLinearPlan::Chunk> ChunksOf(const GatedLinearPlan& plan,
                                                 int64_t n) {
  return std::span(plan.chunks)
      .subspan(plan.first[n], plan.first[n + 1] - plan.first[n]);
}

// All heads of all segments; `in(n)` and `out(n)` are segment n's states.
template <typename In, typename Out>
void RunSegments(const Context& ctx, const Args& args,
                 const GatedLinearPlan& plan, const In& in,
                 const Out& out_state, float* out) {
  const int64_t segments = static_cast<int64_t>(plan.first.size()) - 1;
  const int64_t work =
      args.state_size() * 4 *
      std::max<int64_t>(1, ctx.batch->size() / std::max<int64_t>(1, segments));
  const int64_t grain = std::max<int64_t>(1, 32768 / work);
  ctx.pool->For(segments * args.heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / args.heads, h = task % args.heads;
      const int64_t at = h * args.state_size();
      const float* from = in(n);
      delta_rule::Forward(args, ChunksOf(plan, n), h,
                          from ? from + at : nullptr, out_state(n) + at, out);
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
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      const int64_t group = i / heads * groups + i % heads / (heads / groups);
      for (int64_t c = 0; c < dim; ++c) {
        out[group * dim + c] += in[i * dim + c];
      }
    }
  });
  return sum;
}

std::vector<Tensor> Backward(const Context& ctx, const DeltaRuleInputs& in,
                             const Tensor& state_in,
                             const DeltaRuleOptions& options,
                             const std::vector<Tensor>& given) {
  const Args args = ArgsOf(in, options);
  const GatedLinearPlan plan = PlanOf(ctx, Form::kChunked, options);
  const Shape by_key({in.v.dim(0), args.heads, args.key_dim});
  const auto like = [](const Tensor& x, const Shape& shape) {
    return x.defined() ? Tensor::Empty(shape) : Tensor();
  };
  const auto data = [](Tensor& x) {
    return x.defined() ? x.mutable_data<float>() : nullptr;
  };
  Tensor dq = Tensor::Empty(by_key), dk = Tensor::Empty(by_key);
  Tensor dv = Tensor::Empty(in.v.shape());
  Tensor de = like(in.erase, by_key), dx = like(in.removal, by_key);
  Tensor dg = like(in.log_decay, in.log_decay.shape());
  Tensor ds = like(state_in, state_in.shape());
  const Tensor dout = ContiguousOrNone(given[0]);
  const Tensor dstate = ContiguousOrNone(given[1]);
  const auto at = [](auto* base, int64_t offset) {
    return base ? base + offset : nullptr;
  };
  const int64_t segments = static_cast<int64_t>(plan.first.size()) - 1;
  float *q = data(dq), *k = data(dk), *v = data(dv), *e = data(de),
        *x = data(dx), *g = data(dg), *s = data(ds);
  ctx.pool->Run(segments * args.heads, [&](int64_t task) {
    const int64_t n = task / args.heads, offset = task * args.state_size();
    const delta_rule::Gradients gradients = {
        .out = DataOrNull(dout),
        .state = at(DataOrNull(dstate), offset),
        .q = q,
        .k = k,
        .v = v,
        .erase = e,
        .removal = x,
        .decay = g,
        .state_in = at(s, offset)};
    delta_rule::Backward(args, ChunksOf(plan, n), task % args.heads,
                         at(DataOrNull(state_in), offset), gradients);
  });
  return {SumHeads(*ctx.pool, dq, args.groups),
          SumHeads(*ctx.pool, dk, args.groups),
          dv,
          de,
          dx,
          dg,
          ds};
}

DeltaRuleResult OnCpu(const Context& ctx, const DeltaRuleInputs& in,
                      const Tensor& initial, const Shape& state,
                      const DeltaRuleOptions& options) {
  const Args args = ArgsOf(in, options);
  DeltaRuleResult result{Tensor::Empty(in.v.shape()), Tensor::Empty(state)};
  const int64_t size = args.heads * args.state_size();
  const float* first = DataOrNull(initial);
  float* last = result.state.mutable_data<float>();
  RunSegments(
      ctx, args, PlanOf(ctx, ctx.form, options),
      [&](int64_t n) { return first ? first + n * size : nullptr; },
      [&](int64_t n) { return last + n * size; },
      result.out.mutable_data<float>());
  return result;
}

Tensor InPlaceOnCpu(const Context& ctx, const DeltaRuleInputs& in,
                    Tensor* states, const DeltaRuleOptions& options) {
  const Args args = ArgsOf(in, options);
  const Batch& batch = *ctx.batch;
  int64_t padding = 0;
  for (int64_t n = 0; n < batch.segments(); ++n) {
    CHECK(batch.slots[n] >= -1 && batch.slots[n] < states->dim(0))
        << "slot " << batch.slots[n] << " of " << states->dim(0);
    padding += batch.slots[n] < 0;
  }
  Tensor out = Tensor::Empty(in.v.shape());
  const int64_t size = args.heads * args.state_size();
  float* base = states->mutable_data<float>();
  // Padding works on states that are thrown away.
  std::vector<float> thrown(padding > 0 ? batch.segments() * size : 0, 0.0f);
  const auto slot = [&](int64_t n) {
    return batch.slots[n] < 0 ? thrown.data() + n * size
                              : base + batch.slots[n] * size;
  };
  RunSegments(ctx, args, PlanOf(ctx, ctx.form, options), slot, slot,
              out.mutable_data<float>());
  return out;
}

}  // namespace

DeltaRuleResult DeltaRule(Context& ctx, const DeltaRuleInputs& inputs,
                          const Tensor& state_in,
                          const DeltaRuleOptions& options) {
  CheckShapes(ctx, inputs);
  const DeltaRuleInputs in = Contiguous(inputs);
  const Shape shape(
      {ctx.batch->segments(), in.v.dim(1), in.q.dim(2), in.v.dim(2)});
  const Tensor initial = ContiguousOrNone(state_in);
  CHECK(!initial.defined() || initial.shape() == shape)
      << "state " << initial.shape() << ", want " << shape;
  return Run(
      ctx, kDoor, in.v.device(),
      {inputs.q, inputs.k, inputs.v, inputs.erase, inputs.removal,
       inputs.log_decay, state_in},
      [&] { return OnCpu(ctx, in, initial, shape, options); },
      [&](const delta_rule_cuda::Kernels& cuda) {
        DeltaRuleResult result;
        result.state = Tensor::Empty(shape, DType::kF32, in.v.device());
        result.out =
            cuda.recurrent(ctx, in, nullptr, initial, &result.state, options);
        return result;
      },
      [=](Context& back, const std::vector<Tensor>& gradients) {
        return Backward(back, in, initial, options, gradients);
      });
}

Tensor DeltaRuleInPlace(Context& ctx, const DeltaRuleInputs& inputs,
                        Tensor* states, const DeltaRuleOptions& options) {
  CheckShapes(ctx, inputs);
  CHECK(ctx.tape == nullptr) << "state in place cannot be differentiated";
  const DeltaRuleInputs in = Contiguous(inputs);
  const Shape shape({states->dim(0), in.v.dim(1), in.q.dim(2), in.v.dim(2)});
  CHECK(states->contiguous() && states->shape() == shape)
      << "states " << states->shape() << ", want " << shape;
  return OnDevice(
      in.v.device(), kDoor,
      [&] { return InPlaceOnCpu(ctx, in, states, options); },
      [&](const delta_rule_cuda::Kernels& cuda) {
        return cuda.recurrent(ctx, in, states, Tensor(), nullptr, options);
      });
}

}  // namespace intarsia
