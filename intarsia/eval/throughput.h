// Tokens per second of a model, beside what the machine can read.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/core/device.h"
#include "intarsia/core/status.h"
#include "intarsia/model/model.h"

namespace intarsia {

struct ThroughputOptions {
  std::vector<int> prompts = {512};  // prefill lengths
  int generate = 128;                // decode steps
  std::vector<int> sequences = {1};  // decoded together
  std::vector<int> depths = {0};     // tokens already in the state
  int repeats = 5;
  int threads = 0;
  bool pin = false;  // threads to processors, see ThreadPool
  Device device;
  DType token_dtype = DType::kBF16;
  DType dtype = DType::kF32;  // of activations (Context::dtype)
  KernelReport* report = nullptr;
};

struct ThroughputRow {
  std::string test;  // "pp512", "tg128 x4 @ d2048"
  int sequences = 1, depth = 0;
  int64_t tokens = 0;  // of one repeat, all sequences together
  double median = 0, low = 0, high = 0;  // tokens/s
  // Decode on the CPU: bytes of weights and state that must be read a second,
  // to compare with MeasureReadBandwidth; 0 for prefill and on a GPU.
  double bytes_per_second = 0;
};

// Random token ids, fixed by the seed. `done` is called after each row.
Result<std::vector<ThroughputRow>> MeasureThroughput(
    const Model& model, const ThroughputOptions& options,
    const std::function<void(const ThroughputRow&)>& done);

// Best of several passes over a buffer far larger than the caches, bytes/s.
double MeasureReadBandwidth(int threads);

}  // namespace intarsia
