#include "intarsia/mixers/attention/dynamic_mask.h"

#include <algorithm>
#include <cmath>

#include "intarsia/autograd/op.h"

namespace intarsia {
namespace {

double Softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

Tensor Forward(const Tensor& dt, const Weight& decay) {
  Tensor out = Tensor::Empty({dt.dim(0), dt.dim(1), 1});
  const float* in = dt.data<float>();
  const float* rate = decay.f32();
  float* to = out.mutable_data<float>();
  for (int64_t i = 0; i < dt.numel(); ++i) {
    to[i] = static_cast<float>(
        std::exp(double{rate[i % dt.dim(1)]} * Softplus(in[i])));
  }
  return out;
}

// y = exp(a s): dy/dx = a y σ(x), dy/da = s y.
Tensor InputGradient(const Tensor& dt, const Weight& decay, const Tensor& y,
                     const Tensor& g) {
  Tensor out = Tensor::Empty(dt.shape());
  for (int64_t i = 0; i < dt.numel(); ++i) {
    const double slope = 1 / (1 + std::exp(-double{dt.data<float>()[i]}));
    out.mutable_data<float>()[i] =
        static_cast<float>(slope * decay.f32()[i % dt.dim(1)] *
                           y.data<float>()[i] * g.data<float>()[i]);
  }
  return out;
}

Tensor DecayGradient(const Tensor& dt, const Tensor& y, const Tensor& g) {
  std::vector<double> sums(dt.dim(1), 0.0);
  for (int64_t i = 0; i < dt.numel(); ++i) {
    sums[i % dt.dim(1)] +=
        Softplus(dt.data<float>()[i]) * y.data<float>()[i] * g.data<float>()[i];
  }
  Tensor out = Tensor::Empty({dt.dim(1)});
  for (size_t h = 0; h < sums.size(); ++h) {
    out.mutable_data<float>()[h] = static_cast<float>(sums[h]);
  }
  return out;
}

}  // namespace

Tensor DynamicMask(Context& ctx, const Tensor& dt, const Weight& decay) {
  const Tensor in = dt.Contiguous();
  return Run(
      ctx, CpuOnly("dynamic_mask", "attention"), dt.device(), {dt},
      [&] { return Forward(in, decay); },
      [&](const Tensor& y) -> Tape::BackwardFn {
        return [in, y, &decay, tape = ctx.tape](Context& back,
                                                const std::vector<Tensor>& g) {
          const Tensor grad = g[0].Contiguous();
          tape->QueueWeightGradient(decay, back, [=](Context&) {
            return DecayGradient(in, y, grad);
          });
          return std::vector<Tensor>{InputGradient(in, decay, y, grad)};
        };
      });
}

}  // namespace intarsia
