#include "bench/kernels/format_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "intarsia/core/random.h"
#include "intarsia/formats/format.h"

namespace intarsia::bench {
namespace {

// More than the last-level cache of a core's share: decode reads every weight
// of a model once a token, so a repeated small matrix would flatter it.
constexpr int64_t kColdBytes = 96 << 20;
constexpr int kMostCopies = 64;

double Now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Tensor Normal(const Shape& shape, uint64_t seed) {
  Tensor t = Tensor::Empty(shape);
  Random random(seed);
  float* p = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) p[i] = random.NextNormal();
  return t;
}

FormatTiming Time(ThreadPool& pool, const Format& format, int64_t m, int64_t n,
                  int64_t k, double seconds) {
  const Tensor w = format.Quantize(pool, Normal({n, k}, 1));
  const int64_t bytes = static_cast<int64_t>(w.nbytes());
  const int64_t copies =
      m > 1 ? 1 : std::clamp<int64_t>(kColdBytes / bytes, 1, kMostCopies);
  std::vector<Tensor> weights;
  for (int64_t i = 0; i < copies; ++i) weights.push_back(w.Clone());
  const Tensor x = Normal({m, k}, 2);
  Tensor y = Tensor::Empty({m, n});

  MatmulArgs args{
      x.data<float>(), k, nullptr, y.mutable_data<float>(), n, m, n, k};
  std::vector<double> times;
  const double end = Now() + seconds;
  for (int64_t i = 0; times.size() < 5 || Now() < end; ++i) {
    args.w = weights[i % copies].raw();
    const double begin = Now();
    format.Matmul(pool, args);
    times.push_back(Now() - begin);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2,
                   times.end());
  const double median = times[times.size() / 2];
  return {
      std::string(format.name()),     m, n, k, median, bytes / median * 1e-9,
      2.0 * m * n * k / median * 1e-9};
}

}  // namespace

std::vector<FormatTiming> TimeFormats(ThreadPool& pool, double seconds,
                                      const std::string& only) {
  constexpr int64_t kShapes[][2] = {
      {576, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {2048, 2048}};
  std::vector<FormatTiming> timings;
  for (const int64_t m : {1, 512}) {
    for (const auto& [n, k] : kShapes) {
      if (m > 1 && n > 4096) continue;  // a head runs for one row a sequence
      for (const Format* format : AllFormats()) {
        if (!only.empty() && format->name() != only) continue;
        timings.push_back(Time(pool, *format, m, n, k, seconds));
      }
    }
  }
  return timings;
}

std::string ToTable(const std::vector<FormatTiming>& timings) {
  std::string table =
      fmt::format("{:6} {:>5} {:>6} {:>5} {:>10} {:>8} {:>9}\n", "format", "M",
                  "N", "K", "us", "GB/s", "GFLOP/s");
  for (const FormatTiming& t : timings) {
    table += fmt::format("{:6} {:5} {:6} {:5} {:10.1f} {:8.2f} {:9.1f}\n",
                         t.format, t.m, t.n, t.k, t.seconds * 1e6,
                         t.gigabytes_per_second, t.gigaflops);
  }
  return table;
}

}  // namespace intarsia::bench
