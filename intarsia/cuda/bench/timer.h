// Times GPU work in turn with a copy, so that what the device's memory gives at
// that moment stands beside every figure.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>
#include <vector>

namespace intarsia::bench {

struct GpuWork {
  std::function<void(cudaStream_t stream)> launch;
  double bytes = 0, flops = 0;  // of one launch, as a GpuCase has them
};

struct GpuTiming {
  double median_us = 0, min_us = 0, p90_us = 0;  // of one launch
  double copy_rate = 0;  // bytes read plus written a second, in the same rounds
};

// In each of `rounds` rounds (after two that do not count): a copy of 1 GiB,
// then every work, between two events, in the order given. Caches are cold:
// twice the size of L2 is overwritten before each. Where memory alone bounds
// the work (no flops), lines still to be written back would count; if it moves
// more than four times the size of L2, it clears that by itself, and is
// launched once for nobody and then several times between the events, about
// 0.7 ms in all. Throws EngineError.
std::vector<GpuTiming> TimeBesideCopy(const std::vector<GpuWork>& works,
                                      int rounds);

// Of the copy alone, the median of 31 rounds: bytes read plus written a second.
double CopyRate();

struct GpuInfo {
  std::string name;
  int multiprocessors = 0;
  int major = 0, minor = 0;  // compute capability
  size_t l2_bytes = 0;
};
// Of the current device.
GpuInfo GetGpuInfo();

}  // namespace intarsia::bench
