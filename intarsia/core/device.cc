#include "intarsia/core/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/block_count.h"
#include "intarsia/core/check.h"
#include "intarsia/core/numa.h"

namespace intarsia {
namespace {

// Rounds up so that few distinct sizes exist: to 64 bytes below 4 KiB, then to
// an eighth of the power of two below.
size_t RoundSize(size_t bytes) {
  size_t unit = 64;
  while (unit * 64 < bytes) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

// Pools of state and prepared weights are read from end to end at every step:
// with pages of 2 MiB their addresses stay in the processor's page-table cache.
// A wish that a kernel without such pages ignores.
constexpr size_t kHugePage = size_t{2} << 20;

void* NewBlock(size_t bytes) {
  if (bytes < 2 * kHugePage) return std::aligned_alloc(64, bytes);
  void* block = std::aligned_alloc(
      kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage);
#if defined(MADV_HUGEPAGE)
  if (block != nullptr) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  static const std::vector<int> nodes = UsableMemoryNodes();
  if (block != nullptr && nodes.size() > 1) {
    SpreadOverNodes(block, bytes, nodes);
  }
  return block;
}

std::atomic<bool> poison{false};
std::atomic<int64_t> from_system{0};

// The number behind `key` in a file of lines; none: no such file, no number.
std::optional<size_t> Field(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const char* const text = line.c_str() + key.size();
    char* end = nullptr;
    const size_t value = std::strtoull(text, &end, 10);
    if (end == text) return std::nullopt;  // "max"
    return value;
  }
  return std::nullopt;
}

void* Poisoned(void* block, size_t bytes) {
  if (poison.load(std::memory_order_relaxed)) std::memset(block, 0xFF, bytes);
  return block;
}

class CpuBackend final : public DeviceBackend {
 public:
  ~CpuBackend() override {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) std::free(block);
    }
  }

  void* Allocate(size_t bytes) override {
    const size_t size = RoundSize(bytes);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto it = free_.find(size);
      if (it != free_.end() && !it->second.empty()) {
        void* block = it->second.back();
        it->second.pop_back();
        cached_ -= size;
        return Poisoned(block, size);
      }
    }
    from_system.fetch_add(1, std::memory_order_relaxed);
    void* block = NewBlock(size);
    if (block == nullptr) {
      throw EngineError("[memory] cannot allocate " + std::to_string(size) +
                        " bytes");
    }
    return Poisoned(block, size);
  }

  // What was freed last is wanted next, so it stays and others make room:
  // sizes of work that is over must not fill the cache for ever.
  void Free(void* data, size_t bytes) override {
    const size_t size = RoundSize(bytes);
    std::vector<void*> evicted;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (size <= kMaxCached) {
        while (cached_ + size > kMaxCached) evicted.push_back(TakeLargest());
        free_[size].push_back(data);
        cached_ += size;
      } else {
        evicted.push_back(data);
      }
    }
    for (void* block : evicted) std::free(block);
  }

  void CopyToDevice(void* dst, const void* src, size_t bytes,
                    DeviceStream) override {
    std::memcpy(dst, src, bytes);
  }
  void CopyToHost(void* dst, const void* src, size_t bytes,
                  DeviceStream) override {
    std::memcpy(dst, src, bytes);
  }
  void CopyOnDevice(void* dst, const void* src, size_t bytes,
                    DeviceStream) override {
    std::memmove(dst, src, bytes);
  }
  void Zero(void* dst, size_t bytes, DeviceStream) override {
    std::memset(dst, 0, bytes);
  }
  void Synchronize() override {}

 private:
  static constexpr size_t kMaxCached = kKeepsFreedBlocks ? size_t{64} << 20 : 0;

  // Of what is cached, which is not nothing; the lock is held.
  void* TakeLargest() {
    auto it = free_.rbegin();
    while (it->second.empty()) ++it;
    void* block = it->second.back();
    it->second.pop_back();
    cached_ -= it->first;
    return block;
  }

  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  size_t cached_ = 0;
};

// Never destroyed: tensors with static storage may outlive any order.
CpuBackend& TheCpu() {
  static CpuBackend* backend = new CpuBackend();
  return *backend;
}

}  // namespace

std::string Name(Device device) {
  return device.is_cpu() ? "cpu" : "cuda:" + std::to_string(device.index);
}

void PoisonNewMemory(bool on) { poison = on; }

int64_t BlocksFromSystem() { return from_system; }

DeviceBackend& Backend(Device device) {
  if (device.is_cpu()) return TheCpu();
  DeviceBackend* cuda = CudaBackendOrNull();
  if (cuda == nullptr) {
    throw EngineError(
        "[cuda] no GPU can be used: this build has no CUDA (configure with "
        "-DINTARSIA_CUDA=ON) or the machine has no driver or no Hopper GPU");
  }
  return *cuda;
}

size_t AvailableMemory() {
  size_t free = static_cast<size_t>(sysconf(_SC_PAGESIZE)) *
                static_cast<size_t>(sysconf(_SC_PHYS_PAGES));
  if (const auto system = Field("/proc/meminfo", "MemAvailable:")) {
    free = *system * 1024;
  }
  const std::string group = "/sys/fs/cgroup/memory.";
  const auto most = Field(group + "max", ""),
             used = Field(group + "current", "");
  if (most && used) {
    // Pages of files make room.
    const size_t files = Field(group + "stat", "active_file").value_or(0) +
                         Field(group + "stat", "inactive_file").value_or(0);
    const size_t held = *used - std::min(*used, files);
    free = std::min(free, *most - std::min(*most, held));
  }
  return free;
}

}  // namespace intarsia
