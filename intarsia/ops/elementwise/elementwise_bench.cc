#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::bench {
namespace {

using Op = Tensor (*)(Context& ctx, const Tensor& a, const Tensor& b);
using Plain = double (*)(double a, double b);

KernelBench Row(const char* name, const Shape& shape, int inputs, Op op,
                Plain plain) {
  const double n = double(shape.numel());
  return {.name = name,
          .shape = shape.ToString(),
          .bytes = 4 * n * (inputs + 1),
          .flops = n,
          .prepare = [=](const Context& ctx) {
            const Tensor a = BenchValues(shape, 1, 4),
                         b = BenchValues(shape, 2);
            return CheckedRun(
                [op, ctx = ctx, x = a.To(ctx.device),
                 y = b.To(ctx.device)]() mutable { return op(ctx, x, y); },
                [=] {
                  std::vector<double> want(a.numel());
                  for (size_t i = 0; i < want.size(); ++i) {
                    want[i] = plain(a.data<float>()[i], b.data<float>()[i]);
                  }
                  return want;
                });
          }};
}

}  // namespace

std::vector<KernelBench> elementwise(bool quick) {
  const Shape shape = quick ? Shape({5, 33}) : Shape({2048, 2048});
  return {Row(
              "elementwise.add", shape, 2,
              [](Context& ctx, const Tensor& a, const Tensor& b) {
                return Add(ctx, a, b);
              },
              [](double a, double b) { return a + b; }),
          Row(
              "elementwise.swiglu", shape, 2,
              [](Context& ctx, const Tensor& a, const Tensor& b) {
                return GatedActivation(ctx, Activation::kSilu, a, b);
              },
              [](double a, double b) {
                return ReferenceActivation(Activation::kSilu, a) * b;
              }),
          Row(
              "elementwise.gelu", shape, 1,
              [](Context& ctx, const Tensor& a, const Tensor&) {
                return Activate(ctx, Activation::kGelu, a);
              },
              [](double a, double) {
                return ReferenceActivation(Activation::kGelu, a);
              })};
}

}  // namespace intarsia::bench
