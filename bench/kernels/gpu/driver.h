// What every family of GPU kernels needs to be checked and timed: buffers that
// start as NaN, fresh normal inputs, error norms, interleaved event timing with
// a cold L2, and a report that is written line by line.
//
// A family is one file in this folder with one function of type FamilyFn; its
// line in families.def makes it known to the program. The program needs a GPU
// only when it runs, never to build.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace intarsia::bench {

// Ends the program with the file, the line and the CUDA error's name.
void CudaCheckFailed(cudaError_t error, const char* what, const char* file,
                     int line);
#define INTARSIA_BENCH_CUDA(call)                                       \
  do {                                                                  \
    const cudaError_t bench_error_ = (call);                            \
    if (bench_error_ != cudaSuccess)                                    \
      ::intarsia::bench::CudaCheckFailed(bench_error_, #call, __FILE__, \
                                         __LINE__);                     \
  } while (0)

struct Options {
  bool check = true;   // compare with the reference
  bool time = true;    // measure
  bool quick = false;  // few shapes, few repetitions (for the sanitizer)
  std::string only;    // run only entries whose name contains this
  std::string shape;   // attention: time only shapes with this name
  std::string output;  // JSON lines go here as they come ("" = nowhere)
  uint64_t seed = 1;
  int rounds = 15;        // timed rounds; each runs every candidate once
  double budget_s = 200;  // a family stops starting new work after this long
};

// One JSON object a line in the output file, flushed at once, and one line of
// text on stdout. The text of a JSON value is written by Str/Num.
class Report {
 public:
  explicit Report(const std::string& path);
  ~Report();
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  using Field = std::pair<std::string, std::string>;
  static Field Str(std::string name, std::string_view value);
  static Field Num(std::string name, double value);
  void Line(const std::vector<Field>& fields);

  // Counts a failed check; the program's exit status is 1 if there was one.
  void Fail() { ++failures_; }
  int failures() const { return failures_; }

 private:
  std::FILE* file_ = nullptr;
  int failures_ = 0;
};

// Runs all checks and timings of one family.
using FamilyFn = void (*)(const Options&, Report*);

// Device memory of one type, owned. All bytes start as 0xFF, which reads as
// NaN in fp32, bf16, fp16 and fp64 and as -1 in integers.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(size_t count) : count_(count) {
    INTARSIA_BENCH_CUDA(cudaMalloc(&data_, count * sizeof(T) + 1));
    Poison();
  }
  explicit DeviceBuffer(const std::vector<T>& host)
      : DeviceBuffer(host.size()) {
    Upload(host);
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        count_(std::exchange(other.count_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }

  T* data() const { return data_; }
  size_t size() const { return count_; }
  void Poison() {
    INTARSIA_BENCH_CUDA(cudaMemset(data_, 0xFF, count_ * sizeof(T)));
  }
  void Upload(const std::vector<T>& host) {
    INTARSIA_BENCH_CUDA(cudaMemcpy(data_, host.data(), count_ * sizeof(T),
                                   cudaMemcpyHostToDevice));
  }
  // Waits for all work of the device.
  std::vector<T> Download() const {
    std::vector<T> host(count_);
    INTARSIA_BENCH_CUDA(cudaMemcpy(host.data(), data_, count_ * sizeof(T),
                                   cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

// Standard normal values; the same seed gives the same values everywhere.
std::vector<float> RandomNormal(size_t count, uint64_t seed, float scale = 1);
// Round to nearest even, and back.
std::vector<__nv_bfloat16> ToBf16(const std::vector<float>& values);
std::vector<float> ToFloat(const std::vector<__nv_bfloat16>& values);
// Standard normal bf16 values made on the device: for inputs whose values no
// host reference reads in full. Different seeds give unrelated values.
void FillNormal(__nv_bfloat16* data, size_t count, uint64_t seed);

// ||out - reference|| / ||reference||, and the largest |out - reference|. A
// NaN in `out` makes both infinite, so it never passes a tolerance.
struct ErrorNorms {
  double relative = 0;
  double max_abs = 0;
};
ErrorNorms Compare(const std::vector<float>& out,
                   const std::vector<double>& reference);

// One thing to be timed: `launch` enqueues one run on the stream, using input
// set `set` (0 <= set < sets), so that repeated runs need not hit the cache.
struct Candidate {
  std::string name;
  std::function<void(cudaStream_t stream, int set)> launch;
};
struct TimingOptions {
  int warmup = 2;
  int rounds = 15;
  int sets = 1;
  bool flush_l2 = true;  // overwrite a buffer larger than L2 before each run
};
struct Timing {
  double median_us = 0;
  double min_us = 0;
  double p90_us = 0;
  int runs = 0;
};
// Runs every candidate once a round, in turn, each between two events. Result
// i belongs to candidate i.
std::vector<Timing> TimeInterleaved(const std::vector<Candidate>& candidates,
                                    const TimingOptions& options);

struct DeviceInfo {
  std::string name;
  int multiprocessors = 0;
  size_t l2_bytes = 0;
};
DeviceInfo GetDeviceInfo();
// Bytes read plus bytes written per second of a large device-to-device copy.
double MeasureCopyBandwidth();
double SecondsSinceStart();

}  // namespace intarsia::bench
