// Dense products against sums in double.
#include <algorithm>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/ops/matmul/sm90_gemm.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int rows, in, out;
  GpuCase::Use use = GpuCase::Use::kChecked;
  bool f32 = false, bias = false;
  int tile = 0;
};

struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    x = NormalBuffer<__nv_bfloat16>(size_t(s.rows) * s.in, seed * 3);
    w = NormalBuffer<__nv_bfloat16>(size_t(s.out) * s.in, seed * 3 + 1);
    bias = NormalBuffer<float>(s.out, seed * 3 + 2);
    if (s.f32) {
      y32 = FloatBuffer(size_t(s.rows) * s.out);
    } else {
      y = Bf16Buffer(size_t(s.rows) * s.out);
    }
    args = {.x = x.data(),
            .x_stride = s.in,
            .w = w.data(),
            .bias = s.bias ? bias.data() : nullptr,
            .y = s.f32 ? static_cast<void*>(y32.data()) : y.data(),
            .y_f32 = s.f32,
            .rows = s.rows,
            .in = s.in,
            .out = s.out,
            .tile_columns = s.tile};
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90Gemm(args, stream), "dense product");
  }

  Shape shape;
  Bf16Buffer x, w, y;
  FloatBuffer bias, y32;
  Sm90GemmArgs args;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const Shape& s = p.shape;
  ErrorNorm error;
  const bool large = int64_t{s.rows} * s.out > 300000;
  const std::vector<int64_t> columns = Sample(s.out, large ? 80 : s.out);
  std::vector<std::vector<float>> matrix;
  for (const int64_t c : columns) {
    matrix.push_back(Rows(p.w.data() + c * s.in, 1, 0, s.in));
  }
  const std::vector<float> bias = Rows(p.bias.data(), 1, 0, s.out);
  for (const int64_t r : Sample(s.rows, large ? 40 : s.rows)) {
    const std::vector<float> x = Rows(p.x.data() + r * s.in, 1, 0, s.in);
    const std::vector<float> y =
        s.f32 ? Rows(p.y32.data() + r * s.out, 1, 0, s.out)
              : Rows(p.y.data() + r * s.out, 1, 0, s.out);
    for (size_t c = 0; c < columns.size(); ++c) {
      double sum = s.bias ? bias[columns[c]] : 0.0;
      for (int i = 0; i < s.in; ++i) sum += double{x[i]} * matrix[c][i];
      error.Add(y[columns[c]], sum);
    }
  }
  return {error.Relative("y", s.f32 ? 1e-5 : 4e-3)};
}

GpuCase MakeCase(const Shape& s) {
  GpuCase c;
  c.name = "matmul.sm90.gemm";
  c.shape = std::to_string(s.rows) + " rows, " + std::to_string(s.in) + " to " +
            std::to_string(s.out) + (s.f32 ? " f32" : "") +
            (s.bias ? " bias" : "") +
            (s.tile > 0 ? " tile " + std::to_string(s.tile) : "");
  c.flops = 2.0 * s.rows * s.in * s.out;
  c.bytes = 2.0 * (double(s.rows) * s.in + double(s.out) * s.in) +
            (s.f32 ? 4.0 : 2.0) * s.rows * s.out;
  c.use = s.use;
  c.prepare = PrepareWith<Problem>(s, &Compare);
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_gemm(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {{1, 8, 8},
                               {129, 72, 264, Use::kChecked, false, true},
                               {300, 200, 200, Use::kChecked, true, true}};
  for (const int tile : {64, 128, 192, 256}) {
    shapes.push_back({257, 136, 520, Use::kChecked, false, false, tile});
    shapes.push_back({257, 136, 520, Use::kChecked, true, true, tile});
  }
  if (quick) {
    shapes.push_back({512, 1024, 1024, Use::kTable});
  } else {
    shapes.push_back({8192, 8192, 8192, Use::kTable});
    shapes.push_back({8192, 4096, 14336, Use::kTable});
    shapes.push_back({8192, 14336, 4096, Use::kTable});
    shapes.push_back({512, 4096, 4096, Use::kTable});
    for (const int rows : {16, 64, 128}) {
      shapes.push_back({rows, 4096, 28672, Use::kTable});
      shapes.push_back({rows, 14336, 4096, Use::kTable});
      shapes.push_back({rows, 4096, 4096, Use::kTable});
    }
    for (const int tile : {0, 64, 128, 192, 256}) {
      shapes.push_back({8192, 576, 1536, Use::kTable, false, false, tile});
    }
    shapes.push_back({8192, 1536, 576, Use::kTable});
    shapes.push_back({8192, 576, 576, Use::kTable});
    shapes.push_back({8192, 576, 192, Use::kTable});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) cases.push_back(MakeCase(s));
  return cases;
}

}  // namespace intarsia::bench
