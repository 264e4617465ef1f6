// RMS norm with and without its residual addition.
#include "intarsia/ops/norm/sm90_rms_norm.h"

#include <cmath>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int rows, dim;
  bool residual;
  bool in_place;  // h over the residual, out over x
};

void Check(const Options& options, Report* report, const Shape& s) {
  const std::string name =
      std::to_string(s.rows) + "x" + std::to_string(s.dim) +
      (s.residual ? " residual" : "") + (s.in_place ? " in place" : "");
  if (!Wanted(options, name)) return;
  const size_t n = size_t(s.rows) * s.dim;
  const std::vector<float> x = RandomBf16(n, options.seed);
  const std::vector<float> r = RandomBf16(n, options.seed + 1);
  const std::vector<float> w = RandomBf16(s.dim, options.seed + 2);
  DeviceBuffer<__nv_bfloat16> dx(ToBf16(x)), dr(ToBf16(r)), dw(ToBf16(w));
  DeviceBuffer<__nv_bfloat16> dh(n), dout(n);
  DeviceBuffer<float> dinverse(s.rows);
  Sm90RmsNormArgs args;
  args.x = dx.data();
  args.residual = s.residual ? dr.data() : nullptr;
  args.weight = dw.data();
  args.residual_out = s.in_place ? dr.data() : dh.data();
  args.out = s.in_place ? dx.data() : dout.data();
  args.inverse_rms = dinverse.data();
  args.rows = s.rows;
  args.dim = s.dim;
  args.epsilon = 1e-5f;
  args.weight_offset = 1;
  INTARSIA_BENCH_CUDA(LaunchSm90RmsNorm(args, nullptr));

  std::vector<float> h = x;
  std::vector<double> inverse(s.rows), out(n);
  for (int i = 0; i < s.rows; ++i) {
    double sum = 0;
    for (int j = 0; j < s.dim; ++j) {
      float& value = h[size_t(i) * s.dim + j];
      if (s.residual) {
        value = __bfloat162float(
            __float2bfloat16_rn(value + r[size_t(i) * s.dim + j]));
      }
      sum += double(value) * value;
    }
    inverse[i] = 1 / std::sqrt(sum / s.dim + 1e-5);
    for (int j = 0; j < s.dim; ++j) {
      out[size_t(i) * s.dim + j] =
          h[size_t(i) * s.dim + j] * inverse[i] * (1.0 + w[j]);
    }
  }
  const auto& got = s.in_place ? dx : dout;
  CheckClose(report, "rms_norm", name, ToFloat(got.Download()), out, 3e-3);
  CheckClose(report, "rms_norm", name + " inverse", dinverse.Download(),
             inverse, 1e-5);
  if (s.residual) {
    CheckClose(report, "rms_norm", name + " h",
               ToFloat((s.in_place ? dr : dh).Download()), ToDouble(h), 0);
  }
}

void Time(const Options& options, Report* report, int rows, int dim) {
  const size_t n = size_t(rows) * dim;
  DeviceBuffer<__nv_bfloat16> x(n), r(n), h(n), out(n), w(dim);
  FillNormal(x.data(), n, 1);
  FillNormal(r.data(), n, 2);
  FillNormal(w.data(), dim, 3);
  Sm90RmsNormArgs args;
  args.x = x.data();
  args.weight = w.data();
  args.out = out.data();
  args.rows = rows;
  args.dim = dim;
  Sm90RmsNormArgs with = args;
  with.residual = r.data();
  with.residual_out = h.data();
  const std::string name = std::to_string(rows) + "x" + std::to_string(dim);
  TimeBesideCopy(options, report, "rms_norm",
                 {{name, 4.0 * n,
                   [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90RmsNorm(args, stream));
                   }},
                  {name + " residual", 8.0 * n, [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90RmsNorm(with, stream));
                   }}});
}

}  // namespace

void RmsNormFamily(const Options& options, Report* report) {
  if (options.check) {
    for (const Shape& s : std::vector<Shape>{{1, 8, false, false},
                                             {3, 63, true, false},
                                             {5, 576, false, false},
                                             {300, 1000, true, false},
                                             {7, 2048, true, true},
                                             {1001, 4096, true, false},
                                             {33, 5120, false, true},
                                             {9, 8192, true, false},
                                             {4, 16384, true, true},
                                             {2, 20001, true, false}}) {
      Check(options, report, s);
    }
  }
  if (!options.time) return;
  Time(options, report, 32768, 4096);
  if (options.quick) return;
  Time(options, report, 65536, 2048);
  Time(options, report, 16384, 8192);
}

}  // namespace intarsia::bench
