// Times the weight formats' multiplication on this machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "intarsia/core/thread_pool.h"

namespace intarsia::bench {

struct FormatTiming {
  std::string format;
  int64_t m, n, k;
  double seconds;  // median of a call, weights not in the cache for m = 1
  // Bytes of weights and floating-point operations (2·m·n·k) a second.
  double gigabytes_per_second, gigaflops;
};

// Every format at decode (m = 1) and prefill (m = 512), for the [N, K] of
// SmolLM2-135M and 2048². `seconds` bounds the time spent on each.
std::vector<FormatTiming> TimeFormats(ThreadPool& pool, double seconds = 0.2,
                                      const std::string& only = "");
std::string ToTable(const std::vector<FormatTiming>& timings);

}  // namespace intarsia::bench
