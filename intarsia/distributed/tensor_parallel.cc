#include "intarsia/distributed/tensor_parallel.h"

#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/distributed/communicator.h"

namespace intarsia {
namespace {

bool Alone(const Context& ctx) { return TensorParallelSize(ctx) == 1; }

Tensor Summed(Communicator* group, const Tensor& x) {
  Tensor sum = x.Contiguous();
  group->AllReduceSum(&sum);
  return sum;
}

// Per row, Σ a·b over the columns in double.
Tensor RowDots(const Tensor& a, const Tensor& b) {
  const int64_t rows = a.dim(0), dim = a.dim(1);
  Tensor dots = Tensor::Empty({rows});
  for (int64_t t = 0; t < rows; ++t) {
    const float* pa = a.data<float>() + t * dim;
    const float* pb = b.data<float>() + t * dim;
    double sum = 0;
    for (int64_t i = 0; i < dim; ++i) sum += double{pa[i]} * pb[i];
    dots.mutable_data<float>()[t] = static_cast<float>(sum);
  }
  return dots;
}

}  // namespace

int TensorParallelRank(const Context& ctx) {
  return ctx.tensor_parallel == nullptr ? 0 : ctx.tensor_parallel->rank();
}

int TensorParallelSize(const Context& ctx) {
  return ctx.tensor_parallel == nullptr ? 1 : ctx.tensor_parallel->size();
}

Tensor EnterTensorParallel(Context& ctx, const Tensor& x) {
  if (Alone(ctx)) return x;
  return RunAnywhere(
      ctx, "enter_tensor_parallel", {x}, [&] { return x; },
      [group = ctx.tensor_parallel](Context&, const std::vector<Tensor>& g) {
        return std::vector<Tensor>{Summed(group, g[0])};
      });
}

Tensor LeaveTensorParallel(Context& ctx, const Tensor& partial) {
  if (Alone(ctx)) return partial;
  return RunAnywhere(
      ctx, "leave_tensor_parallel", {partial},
      [&] { return Summed(ctx.tensor_parallel, partial); },
      [](Context&, const std::vector<Tensor>& g) { return g; });
}

Tensor ShardedRmsNorm(Context& ctx, const Tensor& x, const Weight& scale,
                      float eps) {
  CHECK(!Alone(ctx));
  Communicator* group = ctx.tensor_parallel;
  const Tensor in = x.Contiguous();
  const int64_t rows = in.dim(0), dim = in.dim(1);
  const double width = static_cast<double>(dim) * group->size();
  Tensor inverse;  // of each row's root mean square
  const auto normalise = [&] {
    inverse = Summed(group, RowDots(in, in));
    float* r = inverse.mutable_data<float>();
    for (int64_t t = 0; t < rows; ++t) {
      r[t] = static_cast<float>(1.0 / std::sqrt(r[t] / width + eps));
    }
    Tensor out = Tensor::Empty(in.shape());
    const float* s = scale.f32();
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t i = 0; i < dim; ++i) {
        out.mutable_data<float>()[t * dim + i] =
            in.data<float>()[t * dim + i] * r[t] * s[i];
      }
    }
    return out;
  };
  const auto vjp = [&](const Tensor&) -> Tape::BackwardFn {
    return [=, w = &scale, tape = ctx.tape](Context& back,
                                            const std::vector<Tensor>& grads) {
      const Tensor g = grads[0].Contiguous();
      const float* s = w->f32();
      const float* r = inverse.data<float>();
      // y = x r s, so dx = g s r − x r³/width · Σ over all ranks of g s x.
      Tensor scaled = Tensor::Empty(g.shape());
      Tensor weight_gradient = Tensor::Zeros({dim});
      for (int64_t t = 0; t < rows; ++t) {
        for (int64_t i = 0; i < dim; ++i) {
          const int64_t k = t * dim + i;
          scaled.mutable_data<float>()[k] = g.data<float>()[k] * s[i];
          weight_gradient.mutable_data<float>()[i] +=
              g.data<float>()[k] * in.data<float>()[k] * r[t];
        }
      }
      const Tensor dots = Summed(group, RowDots(scaled, in));
      Tensor dx = Tensor::Empty(g.shape());
      for (int64_t t = 0; t < rows; ++t) {
        const double c =
            dots.data<float>()[t] * double{r[t]} * r[t] * r[t] / width;
        for (int64_t i = 0; i < dim; ++i) {
          const int64_t k = t * dim + i;
          dx.mutable_data<float>()[k] = static_cast<float>(
              scaled.data<float>()[k] * double{r[t]} - c * in.data<float>()[k]);
        }
      }
      tape->QueueWeightGradient(
          *w, back, [weight_gradient](Context&) { return weight_gradient; });
      return std::vector<Tensor>{dx};
    };
  };
  return Run(ctx, CpuOnly("sharded_rms_norm", "tensor_parallel"), x.device(),
             {x}, normalise, vjp);
}

Result<Tensor> ShardWeight(const WeightSpec& whole, const Format& format,
                           const Tensor& values, int rank, int size) {
  const ShardRule& rule = whole.shard;
  if (rule.axis < 0) return values;
  const int64_t length = whole.shape[rule.axis];
  if (length % (size * rule.unit) != 0) {
    return InvalidArgument("[tensor_parallel] " + whole.name + ": axis " +
                           std::to_string(rule.axis) + " of " +
                           whole.shape.ToString() + " does not divide into " +
                           std::to_string(size) + " parts of whole units of " +
                           std::to_string(rule.unit));
  }
  const int64_t begin = length / size * rank;
  const int64_t end = begin + length / size;
  if (rule.axis != whole.shape.rank() - 1 || format.storage() != DType::kU8) {
    return values.Slice(rule.axis, begin, end).Clone();
  }
  if (begin % format.block() != 0 || end % format.block() != 0) {
    return InvalidArgument("[tensor_parallel] " + whole.name +
                           ": a cut through a block of " +
                           std::string(format.name()));
  }
  return values
      .Slice(rule.axis, static_cast<int64_t>(format.row_bytes(begin)),
             static_cast<int64_t>(format.row_bytes(end)))
      .Clone();
}

}  // namespace intarsia
