// The CUDA backend: one stream, cached device memory, recorded graphs. Host
// code; the kernels live in their rooms.
#include <cuda_runtime_api.h>

#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "intarsia/core/check.h"
#include "intarsia/core/device.h"

namespace intarsia {
namespace {

void Ensure(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw EngineError(std::string("[cuda] ") + what + ": " +
                    cudaGetErrorString(status));
}

size_t RoundSize(size_t bytes) {
  size_t unit = 256;
  while (unit * 64 < bytes) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

class CudaBackend;

class CudaGraph final : public DeviceGraph {
 public:
  CudaGraph(CudaBackend* backend, cudaGraphExec_t exec,
            std::vector<std::pair<void*, size_t>> blocks)
      : backend_(backend), exec_(exec), blocks_(std::move(blocks)) {}
  ~CudaGraph() override;
  void Launch() override;

 private:
  CudaBackend* backend_;
  cudaGraphExec_t exec_;
  std::vector<std::pair<void*, size_t>> blocks_;
};

class CudaBackend final : public DeviceBackend {
 public:
  explicit CudaBackend(int device) : device_(device) {
    Ensure(cudaSetDevice(device_), "cudaSetDevice");
    Ensure(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
           "cudaStreamCreate");
  }

  // A freed block may still be in use by work enqueued before; all work is on
  // one stream, so whoever gets the block next comes after it.
  void* Allocate(size_t bytes) override {
    const size_t size = RoundSize(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<void*>& free = (capturing_ ? graph_free_ : free_)[size];
    if (!free.empty()) {
      void* block = free.back();
      free.pop_back();
      if (capturing_) graph_blocks_[block].live = true;
      return block;
    }
    Ensure(cudaSetDevice(device_), "cudaSetDevice");
    void* block = nullptr;
    cudaError_t status = cudaMalloc(&block, size);
    if (status == cudaErrorMemoryAllocation && !capturing_) {
      cudaGetLastError();
      ReleaseCache();
      status = cudaMalloc(&block, size);
    }
    if (status != cudaSuccess) {
      cudaGetLastError();
      throw EngineError("[cuda] out of memory: " + std::to_string(size) +
                        " bytes more do not fit the GPU");
    }
    if (capturing_) graph_blocks_[block] = {size, true, true};
    return block;
  }

  void Free(void* data, size_t bytes) override {
    const size_t size = RoundSize(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    auto it = graph_blocks_.find(data);
    if (it == graph_blocks_.end()) {
      free_[size].push_back(data);
      return;
    }
    // A graph's block: reused within its recording, else kept for its replays.
    it->second.live = false;
    if (capturing_ && it->second.recording) {
      graph_free_[size].push_back(data);
    }
  }

  void CopyToDevice(void* dst, const void* src, size_t bytes,
                    DeviceStream stream) override {
    Ensure(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice,
                           Stream(stream)),
           "copy to the GPU");
  }
  void CopyToHost(void* dst, const void* src, size_t bytes,
                  DeviceStream stream) override {
    Ensure(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost,
                           Stream(stream)),
           "copy from the GPU");
    Ensure(cudaStreamSynchronize(Stream(stream)), "copy from the GPU");
  }
  void CopyOnDevice(void* dst, const void* src, size_t bytes,
                    DeviceStream stream) override {
    Ensure(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice,
                           Stream(stream)),
           "copy on the GPU");
  }
  void Zero(void* dst, size_t bytes, DeviceStream stream) override {
    Ensure(cudaMemsetAsync(dst, 0, bytes, Stream(stream)), "memset");
  }
  void Synchronize() override {
    Ensure(cudaStreamSynchronize(stream_), "synchronize");
  }
  DeviceStream DefaultStream() override { return stream_; }

  std::unique_ptr<DeviceGraph> Capture(
      const std::function<void()>& work) override {
    Synchronize();
    Ensure(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed),
           "begin of a recording");
    {
      std::lock_guard<std::mutex> lock(mutex_);
      capturing_ = true;
    }
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      TakeRecording();
      throw;
    }
    const cudaError_t status = cudaStreamEndCapture(stream_, &graph);
    auto blocks = TakeRecording();
    Ensure(status, "end of a recording");
    cudaGraphExec_t exec = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    Ensure(made, "graph instantiation");
    return std::make_unique<CudaGraph>(this, exec, std::move(blocks));
  }

  cudaStream_t stream() const { return stream_; }

  // The graph is gone: its blocks become ordinary ones.
  void ReturnBlocks(const std::vector<std::pair<void*, size_t>>& blocks) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [block, size] : blocks) {
      auto it = graph_blocks_.find(block);
      if (!it->second.live) free_[size].push_back(block);
      graph_blocks_.erase(it);
    }
  }

 private:
  struct GraphBlock {
    size_t size = 0;
    bool live = false;       // a tensor holds it
    bool recording = false;  // of the recording under way
  };

  cudaStream_t Stream(DeviceStream stream) const {
    return stream != nullptr ? static_cast<cudaStream_t>(stream) : stream_;
  }

  std::vector<std::pair<void*, size_t>> TakeRecording() {
    std::lock_guard<std::mutex> lock(mutex_);
    capturing_ = false;
    graph_free_.clear();
    std::vector<std::pair<void*, size_t>> blocks;
    for (auto& [block, info] : graph_blocks_) {
      if (!info.recording) continue;
      info.recording = false;
      blocks.emplace_back(block, info.size);
    }
    return blocks;
  }

  void ReleaseCache() {
    cudaStreamSynchronize(stream_);
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) cudaFree(block);
    }
    free_.clear();
  }

  int device_;
  cudaStream_t stream_ = nullptr;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  bool capturing_ = false;
  std::map<size_t, std::vector<void*>> graph_free_;
  std::unordered_map<void*, GraphBlock> graph_blocks_;
};

CudaGraph::~CudaGraph() {
  backend_->Synchronize();
  cudaGraphExecDestroy(exec_);
  backend_->ReturnBlocks(blocks_);
}

void CudaGraph::Launch() {
  Ensure(cudaGraphLaunch(exec_, backend_->stream()), "graph launch");
}

// The first GPU, if it is a Hopper: the kernels are built for sm_90a alone.
CudaBackend* MakeBackend() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    return nullptr;
  }
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  if (major != 9 || minor != 0) return nullptr;
  return new CudaBackend(0);
}

}  // namespace

DeviceBackend* CudaBackendOrNull() {
  // Never destroyed, as the CPU's: tensors may outlive any order.
  static CudaBackend* backend = MakeBackend();
  return backend;
}

}  // namespace intarsia
