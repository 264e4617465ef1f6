// Gradients of decays and of gates of heads.
#include <cmath>

#include "intarsia/autograd/tape.h"
#include "intarsia/mixers/delta/delta.h"

namespace intarsia::delta_internal {

// With s = raw + dt_bias, A = e^{A_log}:
//   g = −A softplus(s)      dg/ds = −A σ(s)            dg/dA_log = g
//   g = floor · σ(A s)      dg/ds = A g (1 − σ(A s))   dg/dA_log = s dg/ds
void RecordLogDecays(Context& ctx, const Tensor& raw, const Weight& dt_bias,
                     const Weight& a_log, float floor, Tensor* decays) {
  const Tensor in = raw.Contiguous(), out = *decays;
  const Weight *bias = &dt_bias, *a = &a_log;
  ctx.tape->Record(
      "delta_log_decays", ctx, {raw}, {decays},
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const int64_t width = in.dim(1), heads = a->shape()[0];
        const int64_t channels = width / heads;
        const Tensor g = given[0].Contiguous();
        Tensor d = Tensor::Empty(in.shape());
        std::vector<double> d_bias(width, 0.0), d_a(heads, 0.0);
        for (int64_t i = 0; i < in.numel(); ++i) {
          const float rate = std::exp(a->f32()[i % width / channels]);
          const float s = in.data<float>()[i] + bias->f32()[i % width];
          const float y = out.data<float>()[i], dy = g.data<float>()[i];
          const float slope = floor < 0.0f
                                  ? rate * y / (1.0f + std::exp(rate * s))
                                  : -rate / (1.0f + std::exp(-s));
          d.mutable_data<float>()[i] = dy * slope;
          d_bias[i % width] += dy * slope;
          d_a[i % width / channels] += dy * (floor < 0.0f ? s * slope : y);
        }
        const auto weight = [&](const Weight& of,
                                const std::vector<double>& sum) {
          const Tensor value = Tensor::From(
              std::vector<float>(sum.begin(), sum.end()), of.shape());
          tape->QueueWeightGradient(of, back,
                                    [value](Context&) { return value; });
        };
        weight(*bias, d_bias);
        weight(*a, d_a);
        return std::vector<Tensor>{d};
      });
}

void RecordGateHeads(Context& ctx, const Tensor& x, const Tensor& gate,
                     Tensor* y) {
  const Tensor in = x.Contiguous(), factors = gate.Contiguous();
  ctx.tape->Record("delta_gate_heads", ctx, {x, gate}, {y},
                   [=](Context& back, const std::vector<Tensor>& given) {
                     const int64_t rows = in.dim(0), groups = in.dim(1),
                                   width = in.dim(2);
                     const int64_t heads = factors.dim(1);
                     const bool each = factors.rank() == 3;
                     const Tensor g = given[0].Contiguous();
                     Tensor dx = Tensor::Zeros(in.shape());
                     Tensor dfactors = Tensor::Zeros(factors.shape());
                     back.pool->For(rows, 16, [&](int64_t begin, int64_t end) {
                       for (int64_t i = begin * heads; i < end * heads; ++i) {
                         const int64_t group =
                             i / heads * groups + i % heads / (heads / groups);
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
                   });
}

}  // namespace intarsia::delta_internal
