#include "intarsia/mixers/mamba2/mamba2_vjp.h"

#include <algorithm>
#include <cmath>

namespace intarsia::mamba2_internal {
namespace {

using mamba2_cuda::Kernels;

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

// With s = raw + dt_bias and A = −exp(A_log):
//   dΔ = A d(log_decay) + Σ_p x d(value)   dx = Δ d(value)
//   d raw = dΔ σ(s) inside the limits      dA_log = A Σ_t Δ d(log_decay)
// decay, value: gradients, or undefined. Returns d raw, dx and the terms of
// dA_log [T, H].
std::vector<Tensor> DiscretizeOnCpu(Context& ctx, const Tensor& raw,
                                    const Tensor& x, const Weight& dt_bias,
                                    const Weight& a_log, float dt_min,
                                    float dt_max, const Tensor& decay,
                                    const Tensor& value) {
  const int64_t rows = x.dim(0), heads = x.dim(1);
  Tensor d_raw = value.defined() ? Dots(*ctx.pool, x, value)
                                 : Tensor::Zeros({rows, heads});
  Tensor d_a = Tensor::Zeros({rows, heads});
  Tensor delta = Tensor::Empty({rows, heads});
  for (int64_t i = 0; i < rows * heads; ++i) {
    const float s = raw.data<float>()[i] + dt_bias.f32()[i % heads];
    const float step = std::clamp(Softplus(s), dt_min, dt_max);
    const float rate = -std::exp(a_log.f32()[i % heads]);
    delta.mutable_data<float>()[i] = step;
    float& d = d_raw.mutable_data<float>()[i];
    if (decay.defined()) {
      d += rate * decay.data<float>()[i];
      d_a.mutable_data<float>()[i] = rate * step * decay.data<float>()[i];
    }
    // At a limit the step does not move.
    d = step > dt_min && step < dt_max ? d / (1.0f + std::exp(-s)) : 0.0f;
  }
  Tensor dx;
  if (value.defined()) {
    dx = ScaleHeads(*ctx.pool, value, delta.data<float>(), rows * heads);
  }
  return {d_raw, dx, d_a};
}

Tensor RowSums(Context& ctx, const Tensor& x) {
  return OnDevice(
      x.device(), Door("sum_rows"), [&] { return SumRows(x); },
      [&](const Kernels& cuda) { return cuda.sum_rows(ctx, x); });
}

Tensor OrUndefined(const Tensor& gradient) {
  return gradient.defined() ? gradient.Contiguous() : Tensor();
}

}  // namespace

float Softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

Tape::BackwardFn DiscretizeVjp(Tape* tape, const Tensor& raw, const Tensor& x,
                               const Weight& dt_bias, const Weight& a_log,
                               float dt_min, float dt_max) {
  const Weight *bias = &dt_bias, *a = &a_log;
  return [=](Context& back, const std::vector<Tensor>& given) {
    const Tensor decay = OrUndefined(given[0]), value = OrUndefined(given[1]);
    const std::vector<Tensor> d = OnDevice(
        x.device(), Door("mamba2_discretize"),
        [&] {
          return DiscretizeOnCpu(back, raw, x, *bias, *a, dt_min, dt_max, decay,
                                 value);
        },
        [&](const Kernels& cuda) {
          return cuda.discretize_gradients(back, raw, x, *bias, *a, dt_min,
                                           dt_max, decay, value);
        });
    tape->QueueWeightGradient(*bias, back, [d_raw = d[0]](Context& later) {
      return RowSums(later, d_raw);
    });
    tape->QueueWeightGradient(
        *a, back, [d_a = d[2]](Context& later) { return RowSums(later, d_a); });
    return std::vector<Tensor>{d[0], d[1]};
  };
}

Tape::BackwardFn SkipVjp(Tape* tape, const Tensor& x, const Weight& d) {
  return [=, weight = &d](Context& back, const std::vector<Tensor>& given) {
    const Tensor g = given[0].Contiguous();
    tape->QueueWeightGradient(*weight, back, [x, g](Context& later) {
      return RowSums(later, OnDevice(
                                x.device(), Door("mamba2_skip"),
                                [&] { return Dots(*later.pool, x, g); },
                                [&](const Kernels& cuda) {
                                  return cuda.dots(later, x, g);
                                }));
    });
    const Tensor dx = OnDevice(
        x.device(), Door("mamba2_skip"),
        [&] { return ScaleHeads(*back.pool, g, weight->f32(), x.dim(1)); },
        [&](const Kernels& cuda) {
          return cuda.scale_heads(back, g, *weight);
        });
    return std::vector<Tensor>{g, dx};
  };
}

}  // namespace intarsia::mamba2_internal
