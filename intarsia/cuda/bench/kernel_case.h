// One tuned GPU kernel on one shape: what `intarsia bench kernels --device
// cuda` shows and what bench_gpu_kernels checks and times. A room describes its
// kernels in sm90_x_bench.cc, which exports
//   std::vector<GpuCase> bench::sm90_x(bool quick);
// and the build lists every such file in AllGpuCases. Cases are data: nothing
// is allocated before `prepare`, and no GPU is needed to list them. How a case
// is timed (cold caches, events, beside a copy) is the runner's affair:
// cuda/bench/timer.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace intarsia::bench {

// One output of a kernel against its reference in double.
struct OutputError {
  std::string what;  // "dq"
  // ||got - want|| / ||want||, or as the case says; infinite where a value is
  // not a number.
  double error = 0;
  double tolerance = 0;
  std::string worst;  // the value that is farthest off, for whoever mends it

  bool right() const { return error <= tolerance; }
};

struct GpuCase {
  enum class Use {
    kTable,    // everyone sees its time
    kTimed,    // bench_gpu_kernels times it too
    kChecked,  // an odd shape, of which only the result matters
  };
  struct Ready {
    // Enqueues one run. Runs may follow one another: in place, if need be.
    std::function<void(cudaStream_t stream)> launch;
    // Runs the kernel on outputs that hold NaN and compares: all values of
    // small shapes, else a sample that spans the whole. Called once, before any
    // launch. Null: nothing to check (another implementation).
    std::function<std::vector<OutputError>()> check;
  };

  // The room, "sm90", the kernel; a variant of it: "attention.sm90.forward".
  std::string name;
  std::string shape;  // "hd128 causal 16384"
  // What one run cannot do without: bytes read and written, and operations of
  // tensor cores (0 where memory alone bounds the kernel).
  double bytes = 0, flops = 0;
  Use use = Use::kTable;
  // Makes inputs of this seed on the current device; the functions own them.
  // EngineError: the device's memory is too small, or a call failed.
  std::function<Ready(uint64_t seed)> prepare;
};

// Of every sm90_x_bench.cc, in the order of the folders; CMake generates it
// (cuda/CMakeLists.txt). `quick` asks for few and small shapes.
using GpuCases = std::vector<GpuCase> (*)(bool quick);
const std::vector<GpuCases>& AllGpuCases();

// A case's `prepare`, of a Problem that is made of a shape and a seed and has
// Launch(stream) const.
template <typename Problem, typename Shape>
std::function<GpuCase::Ready(uint64_t)> PrepareWith(
    const Shape& shape,
    std::vector<OutputError> (*compare)(const Problem& problem)) {
  return [shape, compare](uint64_t seed) {
    const auto problem = std::make_shared<const Problem>(shape, seed);
    return GpuCase::Ready{
        [problem](cudaStream_t stream) { problem->Launch(stream); },
        [problem, compare] { return compare(*problem); }};
  };
}

}  // namespace intarsia::bench
