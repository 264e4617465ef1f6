// The SwiGLU gate.
#include "intarsia/channel_mixers/glu/sm90_swiglu.h"

#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

// Gate and up are halves of one row, `pad` elements apart.
void Check(const Options& options, Report* report, int rows, int dim, int pad) {
  const std::string name = std::to_string(rows) + "x" + std::to_string(dim) +
                           " pad " + std::to_string(pad);
  if (!Wanted(options, name)) return;
  const int stride = 2 * dim + pad;
  const std::vector<float> x =
      RandomBf16(size_t(rows) * stride, options.seed, 3);
  DeviceBuffer<__nv_bfloat16> dx(ToBf16(x)), dout(size_t(rows) * dim);
  Sm90SwiGluArgs args;
  args.gate = dx.data();
  args.up = dx.data() + dim + pad;
  args.out = dout.data();
  args.rows = rows;
  args.dim = dim;
  args.gate_stride = args.up_stride = stride;
  args.out_stride = dim;
  INTARSIA_BENCH_CUDA(LaunchSm90SwiGlu(args, nullptr));
  std::vector<double> reference(size_t(rows) * dim);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < dim; ++j) {
      const float* row = &x[size_t(i) * stride];
      reference[size_t(i) * dim + j] =
          SiluReference(row[j]) * row[dim + pad + j];
    }
  }
  CheckClose(report, "swiglu", name, ToFloat(dout.Download()), reference, 3e-3);
}

void Time(const Options& options, Report* report, int rows, int dim) {
  const size_t n = size_t(rows) * dim;
  DeviceBuffer<__nv_bfloat16> x(2 * n), out(n);
  FillNormal(x.data(), 2 * n, 1);
  Sm90SwiGluArgs args;
  args.gate = x.data();
  args.up = x.data() + dim;
  args.out = out.data();
  args.rows = rows;
  args.dim = dim;
  args.gate_stride = args.up_stride = 2 * dim;
  args.out_stride = dim;
  TimeBesideCopy(options, report, "swiglu",
                 {{std::to_string(rows) + "x" + std::to_string(dim), 6.0 * n,
                   [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90SwiGlu(args, stream));
                   }}});
}

}  // namespace

void SwiGluFamily(const Options& options, Report* report) {
  if (options.check) {
    Check(options, report, 1, 8, 0);
    Check(options, report, 3, 1537, 0);
    Check(options, report, 130, 1536, 8);
    Check(options, report, 17, 4104, 0);
    Check(options, report, 64, 14336, 0);
  }
  if (!options.time) return;
  Time(options, report, 16384, 14336);
  if (!options.quick) Time(options, report, 32768, 4096);
}

}  // namespace intarsia::bench
