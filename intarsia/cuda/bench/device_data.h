// What the checks of GPU kernels are made of: device memory that starts as NaN,
// random inputs made there, slices of it on the host, samples and error norms.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/cuda/bench/kernel_case.h"

namespace intarsia::bench {

// Throws EngineError("[cuda] WHAT: the error's text") unless all went well.
void Ensure(cudaError_t status, const char* what);

// Device memory of one type, owned. All bytes start as 0xFF, which reads as
// NaN in fp32, bf16 and fp64 and as -1 in integers.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(size_t count) : count_(count) {
    Ensure(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T) + 1),
           "device memory");
    Poison();
  }
  explicit DeviceBuffer(const std::vector<T>& host)
      : DeviceBuffer(host.size()) {
    Ensure(cudaMemcpy(data_, host.data(), count_ * sizeof(T),
                      cudaMemcpyHostToDevice),
           "copy to the GPU");
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
  void Poison() const {
    Ensure(cudaMemset(data_, 0xFF, count_ * sizeof(T)), "memset");
  }
  // Waits for all work of the device.
  std::vector<T> Download() const {
    std::vector<T> host(count_);
    Ensure(cudaMemcpy(host.data(), data_, count_ * sizeof(T),
                      cudaMemcpyDeviceToHost),
           "copy from the GPU");
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

using Bf16Buffer = DeviceBuffer<__nv_bfloat16>;
using FloatBuffer = DeviceBuffer<float>;

// mean + deviation * z for a standard normal z, or its absolute value.
struct Normal {
  float deviation = 1;
  float mean = 0;
  bool absolute = false;
};
// Made on the device; the same seed gives the same values, others unrelated
// ones.
void FillNormal(__nv_bfloat16* data, size_t count, uint64_t seed,
                Normal normal = {});
void FillNormal(float* data, size_t count, uint64_t seed, Normal normal = {});
template <typename T>
DeviceBuffer<T> NormalBuffer(size_t count, uint64_t seed, Normal normal = {}) {
  DeviceBuffer<T> buffer(count);
  FillNormal(buffer.data(), count, seed, normal);
  return buffer;
}
// On the host, for small inputs that need a function of their own.
std::vector<float> RandomNormal(size_t count, uint64_t seed,
                                Normal normal = {});

// `rows` rows of `columns` values, `row_stride` apart, packed on the host.
// Waits for all work of the device.
std::vector<float> Rows(const __nv_bfloat16* from, int64_t rows,
                        int64_t row_stride, int64_t columns);
std::vector<float> Rows(const float* from, int64_t rows, int64_t row_stride,
                        int64_t columns);

// A number that another content of the memory would not give (but for chance).
uint64_t Fingerprint(const void* data, size_t bytes);
template <typename T>
uint64_t Fingerprint(const DeviceBuffer<T>& buffer) {
  return Fingerprint(buffer.data(), buffer.size() * sizeof(T));
}

// All of 0 .. total - 1, or `most` of them from the first to the last.
std::vector<int64_t> Sample(int64_t total, int64_t most);

// Calls work(0) .. work(tasks - 1), on all processors.
void InParallel(int64_t tasks, const std::function<void(int64_t)>& work);

// Gathers ||got - want|| and ||want|| a value at a time.
class ErrorNorm {
 public:
  void Add(double got, double want);
  void Add(const std::vector<float>& got, const std::vector<double>& want);
  OutputError Relative(std::string what, double tolerance) const;
  // The largest |got - want| instead.
  OutputError Largest(std::string what, double tolerance) const;

 private:
  OutputError Result(std::string what, double error, double tolerance) const;

  double error_ = 0, norm_ = 0, largest_ = 0;
  bool broken_ = false;
  int64_t count_ = 0, worst_ = 0;
  double worst_got_ = 0, worst_want_ = 0;
};

// A condition that must hold, as an error of 0 or infinity.
OutputError Holds(std::string what, bool holds);

double Silu(double x);
double Softplus(double x);

}  // namespace intarsia::bench
