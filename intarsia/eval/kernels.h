// Times the rooms by themselves: rows that their x_bench.cc give
// (core/kernel_bench.h), each checked before it is timed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/core/kernel_bench.h"
#include "intarsia/core/status.h"

namespace intarsia {

// Every room that has an x_bench.cc, in the order of the build; CMake generates
// it from the registries.
using RoomBench = std::vector<KernelBench> (*)(bool quick);
const std::vector<RoomBench>& RoomBenches();

struct KernelOptions {
  // Rows whose name, or its part after a dot, begins with this; empty: all.
  std::string name;
  Device device;
  int threads = 0;
  int repeats = 5;
  bool quick = false;  // small shapes
};

struct KernelRow {
  std::string name, shape;
  double seconds = 0;                      // median of the repeats, of one run
  double bytes_per_second = 0, flops = 0;  // what a run needs at least, over it
  double max_error = 0, tolerance = 0;     // KernelBench::check
  std::string skipped;  // why the device cannot run it; then nothing above

  bool right() const { return max_error <= tolerance; }  // NaN is wrong
};

// `done` is called after each row. NotFound names all rows when none fits.
Result<std::vector<KernelRow>> MeasureKernels(
    const KernelOptions& options,
    const std::function<void(const KernelRow&)>& done);

// fp32 fused multiply-adds in registers on all threads, operations per second.
double MeasureFmaPeak(int threads);
// Bytes per second read and written by copies on a GPU.
double MeasureCopyBandwidth(Device device);

}  // namespace intarsia
