#include "intarsia/channel_mixers/mlp/xielu.h"

#include <algorithm>
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {
namespace {

using Parameters = std::array<double, 4>;

double Softplus(double x) {
  return ReferenceActivation(Activation::kSoftplus, x);
}
double Sigmoid(double x) {
  return ReferenceActivation(Activation::kSigmoid, x);
}

double Slope(double x, const Parameters& p) {
  if (x > 0) return 2 * Softplus(p[0]) * x + p[2];
  const double steep = x < p[3] ? std::exp(x) : 0.0;
  return (p[2] + Softplus(p[1])) * (steep - 1) + p[2];
}

// By parameter i.
double SlopeOf(int i, double x, const Parameters& p) {
  const double below = std::expm1(std::min(x, p[3])) - x;
  switch (i) {
    case 0:
      return x > 0 ? Sigmoid(p[0]) * x * x : 0.0;
    case 1:
      return x > 0 ? 0.0 : Sigmoid(p[1]) * below;
    case 2:
      return x > 0 ? x : below + x;
    default:
      return x > 0 || x < p[3] ? 0.0 : (p[2] + Softplus(p[1])) * std::exp(p[3]);
  }
}

}  // namespace

double ReferenceXielu(double x, const Parameters& p) {
  if (x > 0) return Softplus(p[0]) * x * x + p[2] * x;
  return (p[2] + Softplus(p[1])) * (std::expm1(std::min(x, p[3])) - x) +
         p[2] * x;
}

Tensor Xielu(Context& ctx, const Tensor& x, const XieluWeights& weights) {
  Parameters p;
  for (int i = 0; i < 4; ++i) p[i] = weights[i]->f32()[0];
  const Tensor in = x.Contiguous();
  const auto map = [](const Tensor& from, const auto& fn) {
    Tensor out = Tensor::Empty(from.shape());
    for (int64_t i = 0; i < out.numel(); ++i) {
      out.mutable_data<float>()[i] = static_cast<float>(fn(i));
    }
    return out;
  };
  return Run(
      ctx, CpuOnly("xielu", "mlp"), x.device(), {x},
      [&] {
        return map(in, [&](int64_t i) {
          return ReferenceXielu(in.data<float>()[i], p);
        });
      },
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& g) {
        const Tensor d = g[0].Contiguous();
        for (int k = 0; k < 4; ++k) {
          tape->QueueWeightGradient(*weights[k], back, [=](Context&) {
            double sum = 0;
            for (int64_t i = 0; i < in.numel(); ++i) {
              sum += d.data<float>()[i] * SlopeOf(k, in.data<float>()[i], p);
            }
            return Tensor::Full({1}, static_cast<float>(sum));
          });
        }
        return std::vector<Tensor>{map(in, [&](int64_t i) {
          return d.data<float>()[i] * Slope(in.data<float>()[i], p);
        })};
      });
}

}  // namespace intarsia
