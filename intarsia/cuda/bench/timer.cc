#include "intarsia/cuda/bench/timer.h"

#include <algorithm>

#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 30;
constexpr double kIntervalBytes = 2e9;  // about 0.7 ms
constexpr int kWarmup = 2;

// A stream and the two events between which its work is timed.
class Stopwatch {
 public:
  Stopwatch() {
    Ensure(cudaStreamCreate(&stream_), "stream");
    Ensure(cudaEventCreate(&begin_), "event");
    Ensure(cudaEventCreate(&end_), "event");
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  cudaStream_t stream() const { return stream_; }
  // Microseconds. What was enqueued before keeps the device busy while the
  // launch is prepared, so that host time stays out of the interval.
  double Time(const std::function<void(cudaStream_t)>& launch, int times) {
    Ensure(cudaEventRecord(begin_, stream_), "event");
    for (int i = 0; i < times; ++i) launch(stream_);
    Ensure(cudaEventRecord(end_, stream_), "event");
    Ensure(cudaStreamSynchronize(stream_), "kernel");
    float ms = 0;
    Ensure(cudaEventElapsedTime(&ms, begin_, end_), "event");
    return 1e3 * ms / times;
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

std::vector<GpuTiming> TimeBesideCopy(const std::vector<GpuWork>& works,
                                      int rounds) {
  const size_t l2 = GetGpuInfo().l2_bytes;
  const DeviceBuffer<char> from(kCopyBytes), to(kCopyBytes), flush(2 * l2);
  Stopwatch watch;
  std::vector<double> copies;
  std::vector<std::vector<double>> times(works.size());
  for (int round = -kWarmup; round < rounds; ++round) {
    const double copy = watch.Time(
        [&](cudaStream_t stream) {
          Ensure(cudaMemcpyAsync(to.data(), from.data(), kCopyBytes,
                                 cudaMemcpyDeviceToDevice, stream),
                 "copy on the GPU");
        },
        1);
    if (round >= 0) copies.push_back(copy);
    for (size_t i = 0; i < works.size(); ++i) {
      int launches = 1;
      if (works[i].flops == 0 &&
          works[i].bytes > 4.0 * static_cast<double>(l2)) {
        launches =
            std::max(1, static_cast<int>(kIntervalBytes / works[i].bytes));
        // Whatever ran before left lines that must be written back: let that
        // be at the expense of a run that nobody reports.
        works[i].launch(watch.stream());
      } else {
        Ensure(cudaMemsetAsync(flush.data(), round & 1, flush.size(),
                               watch.stream()),
               "memset");
      }
      const double us = watch.Time(works[i].launch, launches);
      if (round >= 0) times[i].push_back(us);
    }
  }
  const double copy_rate = 2e6 * kCopyBytes / Median(copies);
  std::vector<GpuTiming> timings;
  for (std::vector<double>& t : times) {
    std::sort(t.begin(), t.end());
    timings.push_back(
        {t[t.size() / 2], t.front(), t[t.size() * 9 / 10], copy_rate});
  }
  return timings;
}

double CopyRate() {
  return TimeBesideCopy({{[](cudaStream_t) {}, 0, 0}}, 31)[0].copy_rate;
}

GpuInfo GetGpuInfo() {
  int device = 0;
  cudaDeviceProp properties;
  Ensure(cudaGetDevice(&device), "device");
  Ensure(cudaGetDeviceProperties(&properties, device), "device");
  return {properties.name, properties.multiProcessorCount, properties.major,
          properties.minor, static_cast<size_t>(properties.l2CacheSize)};
}

}  // namespace intarsia::bench
