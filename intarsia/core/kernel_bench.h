// What `intarsia bench kernels` times: rows that the rooms' x_bench.cc give.
//
// x_bench.cc of room x exports `std::vector<KernelBench> bench::x(bool quick)`;
// the build lists every room that has one (eval/kernels.h). `quick` asks for
// shapes that run in milliseconds. Rows are data: nothing is allocated before
// `prepare`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/core/context.h"

namespace intarsia {

struct KernelBench {
  std::string name;   // the room, then what of it: "norm.rms"
  std::string shape;  // of one run, for the reader: "2048 x 2048"
  // What one run cannot do without: bytes read and written, operations.
  double bytes = 0;
  double flops = 0;
  double tolerance = 1e-5;  // the largest error that check() may find

  struct Ready {
    std::function<void()> run;  // once; a device may still be at work after it
    // The largest error of the result against the room's reference.
    std::function<double()> check;
  };
  // Makes the inputs on ctx.device; both functions own what they need of them.
  // check is called once, before any run: state may move on with the runs.
  // ctx has a pool and no batch. EngineError: the device has no kernels.
  std::function<Ready(const Context& ctx)> prepare;
};

// A Ready whose check compares the first values of run()'s result with `want`,
// which the reference computes in double (a prefix, where all would take long).
KernelBench::Ready CheckedRun(std::function<Tensor()> run,
                              std::function<std::vector<double>()> want);

// Largest |got − want| over the deviation of want (1 where it has none), of the
// first want.size() values of got; NaN if one is.
double LargestError(const Tensor& got, const std::vector<double>& want);

// fp32 inputs on the host, uniform in [−scale, scale); `seed` decides.
Tensor BenchValues(const Shape& shape, uint64_t seed, float scale = 1.0f);

}  // namespace intarsia
