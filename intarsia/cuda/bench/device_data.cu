#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

__device__ uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

// Box and Muller's transform of two hashed counters.
template <typename T>
__global__ void FillNormalKernel(T* data, size_t count, uint64_t seed,
                                 Normal normal) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    const uint64_t counter = seed * 0x9e3779b97f4a7c15ull + 2 * i;
    const float u = static_cast<uint32_t>(Mix(counter) >> 32) + 1.0f;
    const float v = static_cast<uint32_t>(Mix(counter + 1) >> 32);
    const float z =
        sqrtf(-2 * logf(fminf(u * 0x1p-32f, 1.0f))) * cospif(2 * v * 0x1p-32f);
    const float value = normal.mean + normal.deviation * z;
    data[i] = static_cast<T>(normal.absolute ? fabsf(value) : value);
  }
}

// Adds up hashes of (place, byte or word): any order gives the same sum.
__global__ void FingerprintKernel(const uint8_t* data, size_t bytes,
                                  unsigned long long* sum) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  const size_t words = bytes / 4;
  uint64_t own = 0;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words;
       i += stride) {
    own +=
        Mix((uint64_t{i} << 32) ^ reinterpret_cast<const uint32_t*>(data)[i]);
  }
  if (blockIdx.x == 0 && threadIdx.x < bytes % 4) {
    own += Mix((uint64_t{words + 1 + threadIdx.x} << 32) ^
               data[words * 4 + threadIdx.x]);
  }
  atomicAdd(sum, static_cast<unsigned long long>(own));
}

}  // namespace

void FillNormal(__nv_bfloat16* data, size_t count, uint64_t seed,
                Normal normal) {
  FillNormalKernel<<<1024, 256>>>(data, count, seed, normal);
  Ensure(cudaGetLastError(), "random values");
}

void FillNormal(float* data, size_t count, uint64_t seed, Normal normal) {
  FillNormalKernel<<<1024, 256>>>(data, count, seed, normal);
  Ensure(cudaGetLastError(), "random values");
}

uint64_t Fingerprint(const void* data, size_t bytes) {
  const DeviceBuffer<unsigned long long> sum(
      std::vector<unsigned long long>{0});
  FingerprintKernel<<<256, 256>>>(static_cast<const uint8_t*>(data), bytes,
                                  sum.data());
  Ensure(cudaGetLastError(), "fingerprint");
  return sum.Download()[0];
}

}  // namespace intarsia::bench
