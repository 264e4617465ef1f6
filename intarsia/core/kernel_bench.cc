#include "intarsia/core/kernel_bench.h"

#include <cmath>

namespace intarsia {

KernelBench::Ready CheckedRun(std::function<Tensor()> run,
                              std::function<std::vector<double>()> want) {
  return {.run = [run] { run(); },
          .check = [run, want] { return LargestError(run(), want()); }};
}

double LargestError(const Tensor& got, const std::vector<double>& want) {
  const std::vector<float> values = got.ToVector<float>();
  CHECK(!want.empty() && want.size() <= values.size());
  const double n = static_cast<double>(want.size());
  double mean = 0, square = 0, worst = 0;
  for (double x : want) mean += x / n;
  for (double x : want) square += (x - mean) * (x - mean) / n;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(values[i] - want[i]);
    if (std::isnan(error)) return error;
    worst = std::max(worst, error);
  }
  return square > 0 ? worst / std::sqrt(square) : worst;
}

Tensor BenchValues(const Shape& shape, uint64_t seed, float scale) {
  Random random(seed);
  Tensor t = Tensor::Empty(shape);
  float* p = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    p[i] = scale * (2.0f * random.NextUniform() - 1.0f);
  }
  return t;
}

}  // namespace intarsia
