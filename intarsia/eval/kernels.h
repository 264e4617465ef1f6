// Times the rooms by themselves: rows that their x_bench.cc give
// (core/kernel_bench.h) and, on a GPU, those of the tuned kernels
// (kernels_gpu.h), each checked before it is timed.
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
  bool tuned = false;   // one of the GPU's tuned kernels; then also:
  std::string output;   // of which max_error is: the nearest to its tolerance
  double of_copy = 0;   // bytes_per_second over a copy's in the same rounds

  bool right() const { return max_error <= tolerance; }  // NaN is wrong
};

// Operations a second of dense bf16 products that NVIDIA's data sheet states
// for the H100 and H200 SXM: what the tuned kernels' flops are compared with.
constexpr double kBf16Peak = 989.4e12;

// `done` is called after each row. NotFound names all rows when none fits;
// Unavailable says why there is no GPU, if one is asked for.
Result<std::vector<KernelRow>> MeasureKernels(
    const KernelOptions& options,
    const std::function<void(const KernelRow&)>& done);

// fp32 fused multiply-adds in registers on all threads, operations per second.
double MeasureFmaPeak(int threads);
// Products of bytes added to 32-bit integers (vpdpbusd), likewise; 0 where the
// formats have no kernels of them.
double MeasureIntegerPeak(int threads);
// Bytes per second read and written by copies on the GPU, which there must be.
double MeasureCopyBandwidth();

}  // namespace intarsia
