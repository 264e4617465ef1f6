// The SwiGLU gate.
#include "intarsia/ops/elementwise/sm90_swiglu.h"

#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

// Gate and up are halves of one row, `pad` elements apart.
struct Shape {
  int rows, dim, pad;
  GpuCase::Use use = GpuCase::Use::kChecked;

  int64_t stride() const { return 2 * int64_t{dim} + pad; }
};

struct Problem {
  Problem(const Shape& s, uint64_t seed)
      : shape(s),
        x(NormalBuffer<__nv_bfloat16>(s.rows * s.stride(), seed,
                                      {3, 0, false})),
        out(size_t(s.rows) * s.dim) {
    args.gate = x.data();
    args.up = x.data() + s.dim + s.pad;
    args.out = out.data();
    args.rows = s.rows;
    args.dim = s.dim;
    args.gate_stride = args.up_stride = s.stride();
    args.out_stride = s.dim;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90SwiGlu(args, stream), "SwiGLU");
  }
  Shape shape;
  Bf16Buffer x, out;
  Sm90SwiGluArgs args;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const Shape& s = p.shape;
  ErrorNorm error;
  for (const int64_t i : Sample(s.rows, 256)) {
    const std::vector<float> row =
        Rows(p.x.data() + i * s.stride(), 1, 0, s.stride());
    std::vector<double> want;
    for (int j = 0; j < s.dim; ++j) {
      want.push_back(Silu(row[j]) * row[s.dim + s.pad + j]);
    }
    error.Add(Rows(p.out.data() + i * s.dim, 1, 0, s.dim), want);
  }
  return {error.Relative("out", 3e-3)};
}

}  // namespace

std::vector<GpuCase> sm90_swiglu(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {
      {1, 8, 0}, {3, 1537, 0}, {130, 1536, 8}, {17, 4104, 0}, {64, 14336, 0}};
  if (quick) {
    shapes.push_back({1024, 14336, 0, Use::kTable});
  } else {
    shapes.push_back({16384, 14336, 0, Use::kTable});
    shapes.push_back({32768, 4096, 0, Use::kTimed});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    c.name = "elementwise.sm90.swiglu";
    c.shape = std::to_string(s.rows) + " x " + std::to_string(s.dim) +
              (s.pad > 0 ? " pad " + std::to_string(s.pad) : "");
    c.bytes = 6.0 * s.rows * s.dim;
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
