// Where a tensor lives, and what a device must offer. The CPU backend is always
// there; the CUDA backend is null in a build without it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace intarsia {

struct Device {
  enum class Kind : uint8_t { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int8_t index = 0;

  bool is_cpu() const { return kind == Kind::kCpu; }
  bool is_cuda() const { return kind == Kind::kCuda; }
  bool operator==(const Device&) const = default;
};

inline Device Cpu() { return {}; }
inline Device Cuda(int index = 0) {
  return {Device::Kind::kCuda, static_cast<int8_t>(index)};
}
std::string Name(Device device);  // "cpu", "cuda:0"

// Opaque cudaStream_t; null is the backend's own stream (never the legacy
// default stream).
using DeviceStream = void*;

// Recorded device work that can run again at the same addresses.
class DeviceGraph {
 public:
  virtual ~DeviceGraph() = default;
  virtual void Launch() = 0;  // on the backend's own stream
};

// Memory and ordering on one device. Failures throw EngineError.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;
  // At least 64-byte aligned (CPU) or 256-byte aligned (CUDA). Cached: freed
  // blocks are handed out again without a system call.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* data, size_t bytes) = 0;
  // Ordered on `stream`; a copy to the host returns when the data is there.
  virtual void CopyToDevice(void* dst, const void* src, size_t bytes,
                            DeviceStream stream) = 0;
  virtual void CopyToHost(void* dst, const void* src, size_t bytes,
                          DeviceStream stream) = 0;
  virtual void CopyOnDevice(void* dst, const void* src, size_t bytes,
                            DeviceStream stream) = 0;
  virtual void Zero(void* dst, size_t bytes, DeviceStream stream) = 0;
  virtual void Synchronize() = 0;
  // What a null DeviceStream stands for; null on the CPU.
  virtual DeviceStream DefaultStream() { return nullptr; }
  // Records what `work` enqueues on the backend's own stream, without running
  // it. Memory allocated meanwhile belongs to the graph and stays valid, at the
  // same addresses, as long as the graph lives. Null: this device has no graphs
  // (the work was not called).
  virtual std::unique_ptr<DeviceGraph> Capture(
      const std::function<void()>& work) {
    (void)work;
    return nullptr;
  }
};

// The backend of `device`; throws EngineError if this build or machine has
// none.
DeviceBackend& Backend(Device device);
// Null when the build has no CUDA or the machine no usable GPU.
DeviceBackend* CudaBackendOrNull();

// For tests: every later CPU allocation is filled with NaN (all bits set), so
// that a read of memory nothing wrote shows.
void PoisonNewMemory(bool on);

// Host memory that programs can have without swapping, in bytes; where the
// system does not tell, all there is.
size_t AvailableMemory();

}  // namespace intarsia
