#include "intarsia/mixers/common/token_mix.h"

#include <algorithm>
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/common/token_mix_cuda.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {
namespace {

constexpr int64_t kRowsPerTask = 8;

OpDoor<token_mix_cuda::Kernels> Door(const char* name) {
  return {name, "token_mix", token_mix_cuda::kernels, Differentiable::kOnCpu};
}

// Σ over rows, by the column modulo the size of `shape`, in double.
Tensor SumRows(const Tensor& x, const Shape& shape) {
  const int64_t width = shape.numel();
  std::vector<double> sum(width, 0.0);
  for (int64_t i = 0; i < x.numel(); ++i) sum[i % width] += x.data<float>()[i];
  return Tensor::From(std::vector<float>(sum.begin(), sum.end()), shape);
}

template <typename Fn>
Tensor ByRows(Context& ctx, const Shape& shape, const Fn& fn) {
  Tensor out = Tensor::Empty(shape);
  const int64_t rows = shape[0], width = rows > 0 ? shape.numel() / rows : 0;
  float* to = out.mutable_data<float>();
  ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * width; i < end * width; ++i) to[i] = fn(i);
  });
  return out;
}

}  // namespace

Tensor TokenShift(Context& ctx, const Tensor& x, Tensor state) {
  CHECK(x.rank() == 2 && x.dim(0) == ctx.batch->size()) << x.shape();
  CHECK(!state.defined() || (state.contiguous() && state.dim(1) == x.dim(1)));
  const Tensor in = x.Contiguous();
  const int64_t width = in.dim(1);
  const auto cpu = [&] {
    const Batch& batch = *ctx.batch;
    Tensor out = Tensor::Empty(in.shape());
    const float* from = in.data<float>();
    float* to = out.mutable_data<float>();
    float* kept = state.defined() ? state.mutable_data<float>() : nullptr;
    for (int64_t n = 0; n < batch.segments(); ++n) {
      const int64_t begin = batch.begin(n), end = batch.begin(n + 1);
      const bool has = kept != nullptr && batch.slots[n] >= 0;
      float* slot = has ? kept + batch.slots[n] * width : nullptr;
      for (int64_t t = begin; t < end; ++t) {
        const float* before = t > begin ? from + (t - 1) * width : slot;
        for (int64_t c = 0; c < width; ++c) {
          to[t * width + c] =
              (before != nullptr ? before[c] : 0.0f) - from[t * width + c];
        }
      }
      if (has && end > begin) {
        std::copy_n(from + (end - 1) * width, width, slot);
      }
    }
    return out;
  };
  const auto cuda = [&](const token_mix_cuda::Kernels& kernels) {
    return kernels.shift(ctx, in, &state);
  };
  return Run(ctx, Door("token_shift"), x.device(), {x}, cpu, cuda,
             [width](Context& back, const std::vector<Tensor>& given) {
               const Tensor g = given[0].Contiguous();
               const Batch& batch = *back.batch;
               Tensor dx = Tensor::Empty(g.shape());
               const float* dy = g.data<float>();
               for (int64_t n = 0; n < batch.segments(); ++n) {
                 const int64_t end = batch.begin(n + 1);
                 for (int64_t t = batch.begin(n); t < end; ++t) {
                   for (int64_t i = t * width; i < (t + 1) * width; ++i) {
                     dx.mutable_data<float>()[i] =
                         (t + 1 < end ? dy[i + width] : 0.0f) - dy[i];
                   }
                 }
               }
               return std::vector<Tensor>{dx};
             });
}

Tensor AddWeighted(Context& ctx, const Tensor& base, const Tensor& y,
                   const Weight& weight) {
  const int64_t width = weight.shape().numel();
  CHECK(y.dim(0) == 0 || y.numel() / y.dim(0) == width)
      << y.shape() << " by " << weight.shape();
  CHECK(!base.defined() || base.shape() == y.shape());
  const Tensor b = base.defined() ? base.Contiguous() : base;
  const Tensor in = y.Contiguous();
  const auto cpu = [&] {
    const float* add = b.defined() ? b.data<float>() : nullptr;
    const float *from = in.data<float>(), *w = weight.f32();
    return ByRows(ctx, in.shape(), [=](int64_t i) {
      return (add ? add[i] : 0.0f) + w[i % width] * from[i];
    });
  };
  const auto cuda = [&](const token_mix_cuda::Kernels& kernels) {
    return kernels.add_weighted(ctx, b, in, weight);
  };
  const Weight* of = &weight;
  return Run(
      ctx, Door("add_weighted"), y.device(), {base, y}, cpu, cuda,
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const Tensor g = given[0].Contiguous();
        tape->QueueWeightGradient(*of, back, [=](Context& later) {
          const float *a = g.data<float>(), *b = in.data<float>();
          return SumRows(
              ByRows(later, g.shape(), [=](int64_t i) { return a[i] * b[i]; }),
              of->shape());
        });
        const float *dy = g.data<float>(), *w = of->f32();
        return std::vector<Tensor>{b.defined() ? g : Tensor(),
                                   ByRows(back, g.shape(), [=](int64_t i) {
                                     return w[i % width] * dy[i];
                                   })};
      });
}

Tensor NegativeExp(Context& ctx, const Tensor& x) {
  const Tensor in = x.Contiguous();
  CheckDifferentiable(ctx, x.device(), Door("negative_exp"));
  Tensor y = OnDevice(
      x.device(), Door("negative_exp"),
      [&] {
        const float* from = in.data<float>();
        return ByRows(ctx, in.shape(),
                      [=](int64_t i) { return -std::exp(from[i]); });
      },
      [&](const token_mix_cuda::Kernels& kernels) {
        return kernels.negative_exp(ctx, in);
      });
  if (ctx.tape != nullptr) {
    const Tensor out = y;
    ctx.tape->Record(
        "negative_exp", ctx, {x}, {&y},
        [out](Context& back, const std::vector<Tensor>& given) {
          const Tensor g = given[0].Contiguous();
          const float *dy = g.data<float>(), *value = out.data<float>();
          return std::vector<Tensor>{ByRows(
              back, g.shape(), [=](int64_t i) { return value[i] * dy[i]; })};
        });
  }
  return y;
}

namespace {

// The gradients of a bonus: of r, k, v, and by token of u.
struct BonusGradients {
  Tensor r, k, v, u;
};
BonusGradients BonusBackward(Context& ctx, const Tensor& r, const Tensor& k,
                             const Tensor& v, const Weight& u,
                             const Tensor& g) {
  const int64_t rows = v.dim(0), H = v.dim(1), K = r.dim(2), V = v.dim(2);
  BonusGradients d = {Tensor::Empty(r.shape()), Tensor::Empty(r.shape()),
                      Tensor::Empty(v.shape()), Tensor::Empty(r.shape())};
  ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * H; i < end * H; ++i) {
      const float *q = r.data<float>() + i * K, *key = k.data<float>() + i * K;
      const float* weight = u.f32() + i % H * K;
      const float *dy = g.data<float>() + i * V, *x = v.data<float>() + i * V;
      float sum = 0.0f, dsum = 0.0f;
      for (int64_t c = 0; c < K; ++c) sum += q[c] * weight[c] * key[c];
      for (int64_t c = 0; c < V; ++c) {
        dsum += dy[c] * x[c];
        d.v.mutable_data<float>()[i * V + c] = sum * dy[c];
      }
      for (int64_t c = 0; c < K; ++c) {
        d.r.mutable_data<float>()[i * K + c] = dsum * weight[c] * key[c];
        d.k.mutable_data<float>()[i * K + c] = dsum * weight[c] * q[c];
        d.u.mutable_data<float>()[i * K + c] = dsum * q[c] * key[c];
      }
    }
  });
  return d;
}

}  // namespace

Tensor AddBonus(Context& ctx, const Tensor& base, const Tensor& r,
                const Tensor& k, const Tensor& v, const Weight& u) {
  CHECK(r.shape() == k.shape() && base.shape() == v.shape() &&
        u.shape().numel() == r.dim(1) * r.dim(2))
      << r.shape() << ", " << v.shape() << ", " << u.shape();
  const Tensor b = base.Contiguous(), q = r.Contiguous(), key = k.Contiguous(),
               x = v.Contiguous();
  const auto cpu = [&] {
    const int64_t H = v.dim(1), K = r.dim(2), V = v.dim(2);
    Tensor out = Tensor::Empty(v.shape());
    ctx.pool->For(v.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * H; i < end * H; ++i) {
        float sum = 0.0f;
        for (int64_t c = 0; c < K; ++c) {
          sum += q.data<float>()[i * K + c] * u.f32()[i % H * K + c] *
                 key.data<float>()[i * K + c];
        }
        for (int64_t c = i * V; c < (i + 1) * V; ++c) {
          out.mutable_data<float>()[c] =
              b.data<float>()[c] + sum * x.data<float>()[c];
        }
      }
    });
    return out;
  };
  const auto cuda = [&](const token_mix_cuda::Kernels& kernels) {
    return kernels.add_bonus(ctx, b, q, key, x, u);
  };
  const Weight* of = &u;
  return Run(
      ctx, Door("add_bonus"), v.device(), {base, r, k, v}, cpu, cuda,
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const Tensor g = given[0].Contiguous();
        const BonusGradients d = BonusBackward(back, q, key, x, *of, g);
        const Tensor du = d.u;
        tape->QueueWeightGradient(
            *of, back, [=](Context&) { return SumRows(du, of->shape()); });
        return std::vector<Tensor>{g, d.r, d.k, d.v};
      });
}

TokenMixer::TokenMixer(Context& ctx, const Tensor& x, bool of_current,
                       Tensor state) {
  const Tensor shift = TokenShift(ctx, x, std::move(state));
  base_ = of_current ? Add(ctx, x, shift) : x;
  other_ = of_current ? Scale(ctx, shift, -1.0f) : shift;
}

Tensor TokenMixer::With(Context& ctx, const Weight& share) const {
  return AddWeighted(ctx, base_, other_, share);
}

Tensor TokenMixer::With(Context& ctx, const Tensor& share) const {
  return Add(ctx, base_, Mul(ctx, other_, share));
}

Tensor RepeatRow(Context& ctx, const Weight& weight, int64_t rows) {
  Tensor ones = Tensor::Full({rows, weight.shape().numel()}, 1.0f);
  return AddWeighted(ctx, Tensor(), ones.To(ctx.device), weight);
}

}  // namespace intarsia
