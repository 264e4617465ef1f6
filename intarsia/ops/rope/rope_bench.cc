#include <cmath>

#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia::bench {
namespace {

// Pairs (i, i + K/2) of each head, turned by the position's angles.
std::vector<double> Plain(const Tensor& x, const RopeConfig& config) {
  const int64_t heads = x.dim(1), dim = x.dim(2), pairs = dim / 2;
  const float* v = x.data<float>();
  std::vector<double> y(x.numel());
  for (int64_t row = 0; row < x.dim(0) * heads; ++row) {
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle =
          double(row / heads) *
          std::pow(config.theta, -2.0 * double(i) / double(dim));
      const int64_t a = row * dim + i, b = a + pairs;
      y[a] = v[a] * std::cos(angle) - v[b] * std::sin(angle);
      y[b] = v[b] * std::cos(angle) + v[a] * std::sin(angle);
    }
  }
  return y;
}

}  // namespace

std::vector<KernelBench> rope(bool quick) {
  const Shape shape = quick ? Shape({9, 3, 16}) : Shape({2048, 32, 64});
  const double n = double(shape.numel());
  return {{.name = "rope.heads",
           .shape = shape.ToString(),
           .bytes = 8 * n,
           .flops = 3 * n,
           // Angles are fp32: at position 2047 half an ulp is 6e-5.
           .tolerance = 4e-4,
           .prepare = [=](const Context& ctx) {
             const Tensor x = BenchValues(shape, 1);
             Batch batch = Batch::OfLengths(
                 std::vector<int32_t>{static_cast<int32_t>(shape[0])});
             if (ctx.device.is_cuda()) batch.Upload(ctx.device);
             return CheckedRun(
                 [ctx = ctx, batch, in = x.To(ctx.device)]() mutable {
                   ctx.batch = &batch;
                   return Rope(ctx, in, RopeConfig());
                 },
                 [=] { return Plain(x, RopeConfig()); });
           }}};
}

}  // namespace intarsia::bench
