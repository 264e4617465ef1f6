#include <cmath>

#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia::bench {
namespace {

constexpr float kEps = 1e-6f;

std::vector<double> Plain(const Tensor& x, const Tensor& scale, bool layer) {
  const int64_t rows = x.dim(0), dim = x.dim(1);
  const float* v = x.data<float>();
  std::vector<double> y(rows * dim);
  for (int64_t r = 0; r < rows; ++r, v += dim) {
    double mean = 0, square = 0;
    for (int64_t c = 0; layer && c < dim; ++c) mean += v[c] / double(dim);
    for (int64_t c = 0; c < dim; ++c) square += (v[c] - mean) * (v[c] - mean);
    const double factor = 1 / std::sqrt(square / double(dim) + kEps);
    for (int64_t c = 0; c < dim; ++c) {
      y[r * dim + c] = (v[c] - mean) * factor * scale.data<float>()[c];
    }
  }
  return y;
}

KernelBench Row(bool layer, int64_t rows, int64_t dim) {
  return {.name = layer ? "norm.layer" : "norm.rms",
          .shape = Shape({rows, dim}).ToString(),
          .bytes = 8.0 * rows * dim,
          .flops = (layer ? 7.0 : 4.0) * rows * dim,
          .prepare = [=](const Context& ctx) {
            const Tensor x = BenchValues({rows, dim}, 1);
            const Tensor scale = BenchValues({dim}, 2);
            return CheckedRun(
                [layer, ctx = ctx, in = x.To(ctx.device),
                 weight = WeightOf(ctx, scale)]() mutable {
                  return layer ? LayerNorm(ctx, in, &weight, nullptr, kEps)
                               : RmsNorm(ctx, in, &weight, kEps);
                },
                [=] { return Plain(x, scale, layer); });
          }};
}

}  // namespace

std::vector<KernelBench> norm(bool quick) {
  const int64_t rows = quick ? 7 : 2048, dim = quick ? 96 : 2048;
  return {Row(false, rows, dim), Row(true, rows, dim)};
}

}  // namespace intarsia::bench
