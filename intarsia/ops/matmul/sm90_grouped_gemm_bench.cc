// Experts' products against sums in double.
#include <algorithm>
#include <numeric>
#include <random>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/ops/matmul/sm90_grouped_gemm.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::vector<int> rows;  // of each expert
  int in, out;
  GpuCase::Use use = GpuCase::Use::kChecked;
};

struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s), starts{0} {
    for (const int rows : s.rows) starts.push_back(starts.back() + rows);
    args.rows = starts.back();
    args.experts = static_cast<int>(s.rows.size());
    args.in = s.in;
    args.out = s.out;
    x = NormalBuffer<__nv_bfloat16>(size_t(args.rows) * s.in, seed * 2);
    weights = NormalBuffer<__nv_bfloat16>(s.rows.size() * s.out * size_t(s.in),
                                          seed * 2 + 1);
    y = Bf16Buffer(size_t(args.rows) * s.out);
    device_starts = DeviceBuffer<int32_t>(starts);
    args.x = x.data();
    args.weights = weights.data();
    args.row_starts = device_starts.data();
    args.y = y.data();
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90GroupedGemm(args, stream), "grouped product");
  }

  Shape shape;
  std::vector<int32_t> starts;
  Sm90GroupedGemmArgs args;
  Bf16Buffer x, weights, y;
  DeviceBuffer<int32_t> device_starts;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const Sm90GroupedGemmArgs& a = p.args;
  ErrorNorm error;
  const bool large = int64_t{a.rows} * a.out > 300000;
  const std::vector<int64_t> columns = Sample(a.out, large ? 40 : a.out);
  for (int e = 0; e < a.experts; ++e) {
    const std::vector<int64_t> rows =
        Sample(p.shape.rows[e], large ? 6 : p.shape.rows[e]);
    if (rows.empty() || (large && e % std::max(1, a.experts / 8) != 0)) {
      continue;
    }
    std::vector<std::vector<float>> matrix;
    for (const int64_t c : columns) {
      matrix.push_back(
          Rows(a.weights + (int64_t{e} * a.out + c) * a.in, 1, 0, a.in));
    }
    for (const int64_t r : rows) {
      const int64_t row = p.starts[e] + r;
      const std::vector<float> x = Rows(a.x + row * a.in, 1, 0, a.in);
      const std::vector<float> y = Rows(a.y + row * a.out, 1, 0, a.out);
      for (size_t c = 0; c < columns.size(); ++c) {
        double sum = 0;
        for (int i = 0; i < a.in; ++i) sum += double{x[i]} * matrix[c][i];
        error.Add(y[columns[c]], sum);
      }
    }
  }
  return {error.Relative("y", 4e-3)};
}

// `experts` shares of `rows` that differ as a router's do.
std::vector<int> Routed(int experts, int rows) {
  std::mt19937 random(5);
  std::vector<double> weights(experts);
  for (double& w : weights) w = 0.3 + (random() % 1000) / 700.0;
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int> shares;
  int left = rows;
  for (int e = 0; e + 1 < experts; ++e) {
    shares.push_back(static_cast<int>(rows * weights[e] / sum));
    left -= shares.back();
  }
  shares.push_back(left);
  return shares;
}

GpuCase MakeCase(const Shape& s) {
  const double rows = std::accumulate(s.rows.begin(), s.rows.end(), 0);
  GpuCase c;
  c.name = "matmul.sm90.grouped_gemm";
  c.shape = std::to_string(s.rows.size()) + " experts, " +
            std::to_string(static_cast<int>(rows)) + " rows, " +
            std::to_string(s.in) + " to " + std::to_string(s.out);
  c.flops = 2 * rows * s.in * s.out;
  c.bytes =
      2 * (rows * s.in + rows * s.out + double(s.rows.size()) * s.in * s.out);
  c.use = s.use;
  c.prepare = PrepareWith<Problem>(s, &Compare);
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_grouped_gemm(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {
      {{1, 0, 127, 128, 129, 0, 3}, 64, 256},
      {{5, 300, 0, 7}, 200, 264},
      {{260}, 72, 8},
      {{0, 0, 0, 1}, 8, 520},
      {std::vector<int>(40, 5), 136, 40},
  };
  if (quick) {
    shapes.push_back({Routed(8, 2048), 1024, 1024, Use::kTable});
  } else {
    // Mixtral 8x7B, DeepSeek V3 (a share of its experts), Qwen3 30B-A3B.
    shapes.push_back({Routed(8, 16384), 4096, 28672, Use::kTable});
    shapes.push_back({Routed(8, 16384), 14336, 4096, Use::kTable});
    shapes.push_back({Routed(32, 32768), 7168, 4096, Use::kTable});
    shapes.push_back({Routed(32, 32768), 2048, 7168, Use::kTable});
    shapes.push_back({Routed(128, 65536), 2048, 1536, Use::kTable});
    shapes.push_back({Routed(128, 65536), 768, 2048, Use::kTable});
    shapes.push_back({Routed(32, 2048), 7168, 4096, Use::kTimed});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) cases.push_back(MakeCase(s));
  return cases;
}

}  // namespace intarsia::bench
