// Launch helpers shared by the kernels' host sides: grid arithmetic, device
// attributes, dynamic shared memory, clusters and programmatic launch.
//
// A launch function checks its arguments (cudaErrorInvalidValue), enqueues on
// the stream that it is given, allocates nothing and never synchronises, so it
// can be captured in a graph.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "intarsia/cuda/error.h"

namespace intarsia::cuda {

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// True if p can be read in 16-byte words; a null pointer counts as aligned.
inline bool IsAligned16(const void* p) {
  return (reinterpret_cast<uintptr_t>(p) & 15) == 0;
}

// Streaming multiprocessors of the current device.
inline cudaError_t MultiprocessorCount(int* count) {
  int device = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  return cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device);
}

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // dynamic; raised past 48 KB when needed
  unsigned cluster = 1;     // blocks of one cluster, along grid.x
  // The kernel calls cudaGridDependencySynchronize() before it reads what the
  // kernel ahead of it in the stream wrote, and may start before that ends.
  bool overlap_previous = false;
  cudaStream_t stream = nullptr;
};

// Launches `kernel(args...)` and returns the launch's own status. A grid with
// an empty dimension is no work and succeeds.
template <typename... Params, typename... Args>
cudaError_t Launch(void (*kernel)(Params...), const LaunchShape& shape,
                   Args&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) {
    return cudaSuccess;
  }
  if (shape.shared_bytes > 48 * 1024) {
    INTARSIA_RETURN_IF_CUDA_ERROR(cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
        static_cast<int>(shape.shared_bytes)));
  }
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = shape.cluster;
    attributes[count].val.clusterDim.y = 1;
    attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (shape.overlap_previous) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count].val.programmaticStreamSerializationAllowed = 1;
    ++count;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

}  // namespace intarsia::cuda
