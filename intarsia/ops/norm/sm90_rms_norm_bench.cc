// RMS norm with and without its residual addition.
#include "intarsia/ops/norm/sm90_rms_norm.h"

#include <cmath>

#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int rows, dim;
  bool residual;
  bool in_place = false;  // h over the residual, out over x
  GpuCase::Use use = GpuCase::Use::kChecked;
};

struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    const size_t n = size_t(s.rows) * s.dim;
    x = NormalBuffer<__nv_bfloat16>(n, seed * 3);
    r = NormalBuffer<__nv_bfloat16>(n, seed * 3 + 1);
    w = NormalBuffer<__nv_bfloat16>(s.dim, seed * 3 + 2);
    if (!s.in_place) h = Bf16Buffer(n);
    if (!s.in_place) out = Bf16Buffer(n);
    inverse = FloatBuffer(s.rows);
    args.x = x.data();
    args.weight = w.data();
    args.out = s.in_place ? x.data() : out.data();
    if (s.residual) {
      args.residual = r.data();
      args.residual_out = s.in_place ? r.data() : h.data();
    }
    if (s.use == GpuCase::Use::kChecked) args.inverse_rms = inverse.data();
    args.rows = s.rows;
    args.dim = s.dim;
    args.weight_offset = 1;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90RmsNorm(args, stream), "RMS norm");
  }
  std::vector<float> Row(const __nv_bfloat16* from, int64_t row) const {
    return Rows(from + row * shape.dim, 1, 0, shape.dim);
  }
  Shape shape;
  Sm90RmsNormArgs args;
  Bf16Buffer x, r, w, h, out;
  FloatBuffer inverse;
};

std::vector<OutputError> Compare(const Problem& p) {
  const int dim = p.shape.dim;
  const std::vector<float> w = p.Row(p.args.weight, 0);
  const std::vector<int64_t> rows = Sample(p.shape.rows, 1024);
  std::vector<std::vector<float>> h;  // before anything is overwritten
  for (const int64_t row : rows) {
    h.push_back(p.Row(p.args.x, row));
    if (!p.shape.residual) continue;
    const std::vector<float> r = p.Row(p.args.residual, row);
    for (int j = 0; j < dim; ++j) {
      float& value = h.back()[j];
      value = __bfloat162float(__float2bfloat16_rn(value + r[j]));
    }
  }
  p.Launch(nullptr);
  ErrorNorm out, inverse_error, h_error;
  for (size_t i = 0; i < rows.size(); ++i) {
    double sum = 0;
    for (const float value : h[i]) sum += double{value} * value;
    const double inverse = 1 / std::sqrt(sum / dim + 1e-5);
    std::vector<double> want;
    for (int j = 0; j < dim; ++j) {
      want.push_back(h[i][j] * inverse * (1.0 + w[j]));
    }
    out.Add(p.Row(p.args.out, rows[i]), want);
    if (p.args.inverse_rms != nullptr) {
      inverse_error.Add(Rows(p.inverse.data() + rows[i], 1, 0, 1)[0], inverse);
    }
    if (p.shape.residual) {
      h_error.Add(p.Row(p.args.residual_out, rows[i]),
                  {h[i].begin(), h[i].end()});
    }
  }
  std::vector<OutputError> errors = {out.Relative("out", 3e-3)};
  if (p.args.inverse_rms != nullptr) {
    errors.push_back(inverse_error.Relative("inverse", 1e-5));
  }
  if (p.shape.residual) errors.push_back(h_error.Relative("h", 0));
  return errors;
}

}  // namespace

std::vector<GpuCase> sm90_rms_norm(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {{1, 8, false},           {3, 63, true},
                               {5, 576, false},         {300, 1000, true},
                               {7, 2048, true, true},   {1001, 4096, true},
                               {33, 5120, false, true}, {9, 8192, true},
                               {4, 16384, true, true},  {2, 20001, true}};
  for (const bool residual : {false, true}) {
    if (quick) {
      shapes.push_back({2048, 4096, residual, false, Use::kTable});
      continue;
    }
    shapes.push_back({32768, 4096, residual, false, Use::kTable});
    shapes.push_back({65536, 2048, residual, false, Use::kTimed});
    shapes.push_back({16384, 8192, residual, false, Use::kTimed});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    c.name = "norm.sm90.rms_norm";
    c.shape = std::to_string(s.rows) + " x " + std::to_string(s.dim) +
              (s.residual ? " residual" : "") + (s.in_place ? " in place" : "");
    c.bytes = (s.residual ? 8.0 : 4.0) * s.rows * s.dim;
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
