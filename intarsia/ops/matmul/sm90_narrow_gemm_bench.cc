// Products with few rows and weights in bf16 against sums in double.
#include <algorithm>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/ops/matmul/sm90_narrow_gemm.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int rows, in;
  std::vector<int> outs;
  GpuCase::Use use = GpuCase::Use::kChecked;
  bool f32 = false, bias = false, gated = false;
  int splits = 0;
};

struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    x = NormalBuffer<__nv_bfloat16>(size_t(s.rows) * s.in, seed * 20);
    args.x = x.data();
    args.x_stride = s.in;
    args.y_f32 = s.f32;
    args.gated = s.gated;
    args.weights_constant = true;
    args.rows = s.rows;
    args.in = s.in;
    args.splits = s.splits;
    for (const int out : s.outs) {
      seed += 1;
      weights.push_back(
          NormalBuffer<__nv_bfloat16>(size_t(out) * s.in, seed * 20 + 1));
      biases.push_back(NormalBuffer<float>(out, seed * 20 + 2));
      // bf16 or, as pairs of them, fp32.
      outputs.emplace_back(size_t(s.rows) * out * (s.f32 ? 2 : 1));
      args.matrices[args.count++] = {weights.back().data(),
                                     s.bias ? biases.back().data() : nullptr,
                                     outputs.back().data(), out};
    }
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90NarrowGemm(args, stream), "narrow product");
  }
  std::vector<float> Output(int matrix) const {
    const int64_t count = int64_t{shape.rows} * shape.outs[matrix];
    const __nv_bfloat16* y = outputs[matrix].data();
    return shape.f32 ? Rows(reinterpret_cast<const float*>(y), 1, 0, count)
                     : Rows(y, 1, 0, count);
  }
  // Column c of every row of x times the matrix.
  std::vector<double> Column(const std::vector<float>& x, int matrix,
                             int64_t c) const {
    const std::vector<float> w =
        Rows(weights[matrix].data() + c * shape.in, 1, 0, shape.in);
    const float bias =
        shape.bias ? Rows(biases[matrix].data() + c, 1, 0, 1)[0] : 0.0f;
    std::vector<double> sums(shape.rows, bias);
    for (int r = 0; r < shape.rows; ++r) {
      for (int i = 0; i < shape.in; ++i) {
        sums[r] += double{x[size_t(r) * shape.in + i]} * w[i];
      }
    }
    return sums;
  }

  Shape shape;
  Bf16Buffer x;
  std::vector<Bf16Buffer> weights, outputs;
  std::vector<FloatBuffer> biases;
  Sm90NarrowGemmArgs args;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const Shape& s = p.shape;
  ErrorNorm error;
  const std::vector<float> x = Rows(p.x.data(), 1, 0, int64_t{s.rows} * s.in);
  const int results = s.gated ? 1 : static_cast<int>(s.outs.size());
  for (int m = 0; m < results; ++m) {
    const int out = s.outs[m];
    const std::vector<float> y = p.Output(m);
    for (const int64_t c : Sample(out, 150)) {
      const std::vector<double> sums = p.Column(x, m, c);
      const std::vector<double> up =
          s.gated ? p.Column(x, 1, c) : std::vector<double>();
      for (int r = 0; r < s.rows; ++r) {
        error.Add(y[size_t(r) * out + c],
                  s.gated ? Silu(sums[r]) * up[r] : sums[r]);
      }
    }
  }
  return {error.Relative("y", s.f32 ? 1e-5 : 4e-3)};
}

GpuCase MakeCase(const Shape& s) {
  GpuCase c;
  int64_t out = 0;
  std::string outs;
  for (const int n : s.outs) {
    out += n;
    outs += (outs.empty() ? "" : "+") + std::to_string(n);
  }
  c.name = "matmul.sm90.narrow_gemm";
  c.shape = std::to_string(s.rows) + " rows, " + std::to_string(s.in) + " to " +
            outs + (s.gated ? ", gated" : "") + (s.f32 ? ", f32 out" : "") +
            (s.bias ? ", bias" : "") +
            (s.splits > 0 ? ", " + std::to_string(s.splits) + " parts" : "");
  c.bytes = 2.0 * s.in * out + 2.0 * s.rows * s.in +
            (s.f32 ? 4.0 : 2.0) * s.rows * (s.gated ? s.outs[0] : out);
  c.use = s.use;
  c.prepare = PrepareWith<Problem>(s, &Compare);
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_narrow_gemm(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {
      {3, 288, {40, 8, 19, 130, 1, 256}},
      {17, 1056, {72}, Use::kChecked, true, true},
      {5, 320, {100, 100}, Use::kChecked, false, true, true},
      {70, 1096, {200, 200}, Use::kChecked, true, false, true}};
  for (const int rows : {1, 16, 32, 33, 64, 65, 128}) {
    shapes.push_back({rows, 64, {33}, Use::kChecked, true});
    shapes.push_back({rows, 1024, {260}, Use::kChecked, false, true});
  }
  for (const int splits : {1, 2, 3, 5, 8}) {
    shapes.push_back(
        {19, 712, {300}, Use::kChecked, true, true, false, splits});
  }
  if (quick) {
    shapes.push_back({64, 4096, {4096}, Use::kTable});
  } else {
    for (const int rows : {1, 16, 64, 128}) {
      shapes.push_back({rows, 4096, {14336, 14336}, Use::kTable});
      shapes.push_back({rows, 14336, {4096}, Use::kTable});
      shapes.push_back({rows, 4096, {4096}, Use::kTimed});
    }
    // Mamba-2 2.7B.
    shapes.push_back({64, 2560, {5120, 5120, 128, 128, 80}, Use::kTable});
    shapes.push_back({64, 5120, {2560}, Use::kTable});
    for (const int splits : {1, 2, 4, 8}) {
      for (const Shape& s :
           {Shape{64, 14336, {4096}}, Shape{1, 14336, {4096}},
            Shape{1, 4096, {14336, 14336}}, Shape{64, 4096, {14336, 14336}},
            Shape{64, 2560, {5120, 5120, 128, 128, 80}}}) {
        shapes.push_back(
            {s.rows, s.in, s.outs, Use::kTimed, false, false, false, splits});
      }
    }
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) cases.push_back(MakeCase(s));
  return cases;
}

}  // namespace intarsia::bench
