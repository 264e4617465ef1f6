// Gradients of decays and of gates of heads.
#include "intarsia/mixers/delta/delta_vjp.h"

#include <cmath>

namespace intarsia::delta_internal {

// With s = raw + dt_bias, A = e^{A_log}:
//   g = −A softplus(s)      dg/ds = −A σ(s)            dg/dA_log = g
//   g = floor · σ(A s)      dg/ds = A g (1 − σ(A s))   dg/dA_log = s dg/ds
Tape::BackwardFn LogDecaysVjp(Tape* tape, const Tensor& raw,
                              const Weight& dt_bias, const Weight& a_log,
                              float floor, const Tensor& decays) {
  return [=, in = raw, out = decays, bias = &dt_bias, a = &a_log](
             Context& back, const std::vector<Tensor>& given) {
    const int64_t width = in.dim(1), heads = a->shape()[0];
    const int64_t channels = width / heads;
    const Tensor g = given[0].Contiguous();
    Tensor d = Tensor::Empty(in.shape());
    std::vector<double> d_bias(width, 0.0), d_a(heads, 0.0);
    for (int64_t i = 0; i < in.numel(); ++i) {
      const float rate = std::exp(a->f32()[i % width / channels]);
      const float s = in.data<float>()[i] + bias->f32()[i % width];
      const float y = out.data<float>()[i], dy = g.data<float>()[i];
      const float slope = floor < 0.0f ? rate * y / (1.0f + std::exp(rate * s))
                                       : -rate / (1.0f + std::exp(-s));
      d.mutable_data<float>()[i] = dy * slope;
      d_bias[i % width] += dy * slope;
      d_a[i % width / channels] += dy * (floor < 0.0f ? s * slope : y);
    }
    const auto weight = [&](const Weight& of, const std::vector<double>& sum) {
      const Tensor value =
          Tensor::From(std::vector<float>(sum.begin(), sum.end()), of.shape());
      tape->QueueWeightGradient(of, back, [value](Context&) { return value; });
    };
    weight(*bias, d_bias);
    weight(*a, d_a);
    return std::vector<Tensor>{d};
  };
}

Tape::BackwardFn GateHeadsVjp(const Tensor& x, const Tensor& gate) {
  return [in = x, factors = gate](Context& back,
                                  const std::vector<Tensor>& given) {
    const int64_t rows = in.dim(0), groups = in.dim(1), width = in.dim(2);
    const int64_t heads = factors.dim(1);
    const bool each = factors.rank() == 3;
    const Tensor g = given[0].Contiguous();
    Tensor dx = Tensor::Zeros(in.shape());
    Tensor dfactors = Tensor::Zeros(factors.shape());
    back.pool->For(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * heads; i < end * heads; ++i) {
        const int64_t group = i / heads * groups + i % heads / (heads / groups);
        for (int64_t c = 0; c < width; ++c) {
          const int64_t f = each ? i * width + c : i;
          const float dy = g.data<float>()[i * width + c];
          dx.mutable_data<float>()[group * width + c] +=
              dy * factors.data<float>()[f];
          dfactors.mutable_data<float>()[f] +=
              dy * in.data<float>()[group * width + c];
        }
      }
    });
    return std::vector<Tensor>{dx, dfactors};
  };
}

}  // namespace intarsia::delta_internal
