#include "intarsia/cuda/bench/device_data.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <random>
#include <thread>

#include "intarsia/core/check.h"

namespace intarsia::bench {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
std::vector<T> Gather(const T* from, int64_t rows, int64_t row_stride,
                      int64_t columns) {
  std::vector<T> host(rows * columns);
  if (host.empty()) return host;
  const size_t width = columns * sizeof(T);
  Ensure(cudaMemcpy2D(host.data(), width, from,
                      rows == 1 ? width : row_stride * sizeof(T), width, rows,
                      cudaMemcpyDeviceToHost),
         "copy from the GPU");
  return host;
}

}  // namespace

void Ensure(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // memory that did not suffice is not an error for ever
  throw EngineError(std::string("[cuda] ") + what + ": " +
                    cudaGetErrorString(status));
}

std::vector<float> RandomNormal(size_t count, uint64_t seed, Normal normal) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> standard;
  std::vector<float> values(count);
  for (float& value : values) {
    value = normal.mean + normal.deviation * standard(engine);
    if (normal.absolute) value = std::fabs(value);
  }
  return values;
}

std::vector<float> Rows(const __nv_bfloat16* from, int64_t rows,
                        int64_t row_stride, int64_t columns) {
  const std::vector<__nv_bfloat16> host =
      Gather(from, rows, row_stride, columns);
  std::vector<float> values(host.size());
  for (size_t i = 0; i < host.size(); ++i) {
    values[i] = __bfloat162float(host[i]);
  }
  return values;
}

std::vector<float> Rows(const float* from, int64_t rows, int64_t row_stride,
                        int64_t columns) {
  return Gather(from, rows, row_stride, columns);
}

std::vector<int64_t> Sample(int64_t total, int64_t most) {
  const int64_t count = std::min(total, most);
  std::vector<int64_t> chosen(count);
  for (int64_t i = 0; i < count; ++i) {
    chosen[i] = count == 1 ? 0 : i * (total - 1) / (count - 1);
  }
  return chosen;
}

void InParallel(int64_t tasks, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr error;
  const auto loop = [&] {
    try {
      for (int64_t task; (task = next++) < tasks;) work(task);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      error = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  const int64_t most = std::max(1u, std::thread::hardware_concurrency());
  for (int64_t i = 1; i < std::min(most, tasks); ++i) {
    threads.emplace_back(loop);
  }
  loop();
  for (std::thread& thread : threads) thread.join();
  if (error != nullptr) std::rethrow_exception(error);
}

void ErrorNorm::Add(double got, double want) {
  const int64_t index = count_++;
  // Where the reference is infinite (a row that sees no key has the
  // log-sum-exp -inf), equality is asked for.
  const double difference =
      std::isinf(want) && got == want ? 0 : std::fabs(got - want);
  if (!std::isfinite(difference)) {
    if (!broken_) {
      worst_ = index;
      worst_got_ = got;
      worst_want_ = want;
    }
    broken_ = true;
    return;
  }
  error_ += difference * difference;
  if (std::isfinite(want)) norm_ += want * want;
  if (difference <= largest_) return;
  largest_ = difference;
  if (broken_) return;
  worst_ = index;
  worst_got_ = got;
  worst_want_ = want;
}

void ErrorNorm::Add(const std::vector<float>& got,
                    const std::vector<double>& want) {
  if (got.size() != want.size()) broken_ = true;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    Add(got[i], want[i]);
  }
}

OutputError ErrorNorm::Result(std::string what, double error,
                              double tolerance) const {
  return {std::move(what), broken_ || count_ == 0 ? kInfinity : error,
          tolerance,
          "value " + std::to_string(worst_) + " of " + std::to_string(count_) +
              ": " + std::to_string(worst_got_) + " for " +
              std::to_string(worst_want_)};
}

OutputError ErrorNorm::Relative(std::string what, double tolerance) const {
  const double error =
      norm_ > 0 ? std::sqrt(error_ / norm_) : std::sqrt(error_);
  return Result(std::move(what), error, tolerance);
}

OutputError ErrorNorm::Largest(std::string what, double tolerance) const {
  return Result(std::move(what), largest_, tolerance);
}

OutputError Holds(std::string what, bool holds) {
  return {std::move(what), holds ? 0 : kInfinity, 0, ""};
}

double Silu(double x) { return x / (1 + std::exp(-x)); }

double Softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

}  // namespace intarsia::bench
