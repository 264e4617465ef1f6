#include "intarsia/mixers/mamba2/mamba2_vjp.h"

#include <cmath>

#include "intarsia/autograd/tape.h"

namespace intarsia {
namespace {

constexpr int64_t kRowsPerTask = 16;

// Σ over rows, in double and in order: [T, H] → [H].
Tensor SumRows(const Tensor& x) {
  const int64_t heads = x.dim(1);
  std::vector<double> sum(heads, 0.0);
  for (int64_t i = 0; i < x.numel(); ++i) sum[i % heads] += x.data<float>()[i];
  return Tensor::From(std::vector<float>(sum.begin(), sum.end()), {heads});
}

// Σ_p a·b of each row and head: [T, H, P] twice → [T, H].
Tensor Dots(ThreadPool& pool, const Tensor& a, const Tensor& b) {
  const int64_t rows = a.dim(0), heads = a.dim(1), width = a.dim(2);
  Tensor dots = Tensor::Empty({rows, heads});
  pool.For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      float sum = 0.0f;
      for (int64_t p = i * width; p < (i + 1) * width; ++p) {
        sum += a.data<float>()[p] * b.data<float>()[p];
      }
      dots.mutable_data<float>()[i] = sum;
    }
  });
  return dots;
}

// Each head's channels times its factor: [T, H, P] by [T, H] or [H].
Tensor ScaleHeads(ThreadPool& pool, const Tensor& x, const float* factor,
                  int64_t period) {
  const int64_t rows = x.dim(0), heads = x.dim(1), width = x.dim(2);
  Tensor out = Tensor::Empty(x.shape());
  pool.For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      for (int64_t p = i * width; p < (i + 1) * width; ++p) {
        out.mutable_data<float>()[p] = factor[i % period] * x.data<float>()[p];
      }
    }
  });
  return out;
}

}  // namespace

// With s = raw + dt_bias and A = −exp(A_log):
//   dΔ = A d(log_decay) + Σ_p x d(value)   dx = Δ d(value)
//   d raw = dΔ σ(s) inside the limits      dA_log = A Σ_t Δ d(log_decay)
void RecordDiscretize(Context& ctx, const Tensor& raw, const Tensor& x,
                      const Weight& dt_bias, const Weight& a_log,
                      const Tensor& delta, float dt_min, float dt_max,
                      Mamba2Steps* steps) {
  const Tensor in = x.Contiguous(), raw_in = raw.Contiguous();
  const Weight *bias = &dt_bias, *a = &a_log;
  ctx.tape->Record(
      "mamba2_discretize", ctx, {raw, x}, {&steps->log_decay, &steps->value},
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const int64_t rows = in.dim(0), heads = in.dim(1);
        const Tensor decay =
            given[0].defined() ? given[0].Contiguous() : Tensor();
        const Tensor value =
            given[1].defined() ? given[1].Contiguous() : Tensor();
        Tensor d_raw = value.defined() ? Dots(*back.pool, in, value)
                                       : Tensor::Zeros({rows, heads});
        Tensor d_a = Tensor::Zeros({rows, heads});
        for (int64_t i = 0; i < rows * heads; ++i) {
          const float step = delta.data<float>()[i];
          const float rate = -std::exp(a->f32()[i % heads]);
          float& d = d_raw.mutable_data<float>()[i];
          if (decay.defined()) {
            d += rate * decay.data<float>()[i];
            d_a.mutable_data<float>()[i] = rate * step * decay.data<float>()[i];
          }
          const float s = raw_in.data<float>()[i] + bias->f32()[i % heads];
          // At a limit the step does not move.
          d = step > dt_min && step < dt_max ? d / (1.0f + std::exp(-s)) : 0.0f;
        }
        tape->QueueWeightGradient(*bias, back,
                                  [d_raw](Context&) { return SumRows(d_raw); });
        tape->QueueWeightGradient(*a, back,
                                  [d_a](Context&) { return SumRows(d_a); });
        Tensor dx;
        if (value.defined()) {
          dx = ScaleHeads(*back.pool, value, delta.data<float>(), rows * heads);
        }
        return std::vector<Tensor>{d_raw, dx};
      });
}

void RecordAddSkip(Context& ctx, const Tensor& y, const Tensor& x,
                   const Weight& d, Tensor* out) {
  const Tensor in = x.Contiguous();
  const Weight* weight = &d;
  ctx.tape->Record(
      "mamba2_skip", ctx, {y, x}, {out},
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const Tensor g = given[0].Contiguous();
        tape->QueueWeightGradient(*weight, back, [in, g](Context& later) {
          return SumRows(Dots(*later.pool, in, g));
        });
        return std::vector<Tensor>{
            g, ScaleHeads(*back.pool, g, weight->f32(), in.dim(1))};
      });
}

}  // namespace intarsia
