// TMA: the copy engine moves a box of a tensor between global and shared
// memory, laid out (and swizzled) as its tensor map says. Boxes that reach
// outside the tensor read zeros and write nothing. One thread issues a copy.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "intarsia/cuda/ptx/address.cuh"

namespace intarsia::ptx {

__device__ __forceinline__ void PrefetchTensorMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Box at (c0, c1, c2), innermost coordinate first, to `destination` (128-byte
// aligned; 1024 with the 128-byte swizzle). Its bytes count on `barrier`.
__device__ __forceinline__ void TmaLoad3d(void* destination,
                                          const CUtensorMap* map,
                                          uint64_t* barrier, int32_t c0,
                                          int32_t c1, int32_t c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile"
      ".mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
          SharedAddress(destination)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

__device__ __forceinline__ void TmaLoad4d(void* destination,
                                          const CUtensorMap* map,
                                          uint64_t* barrier, int32_t c0,
                                          int32_t c1, int32_t c2, int32_t c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile"
      ".mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
          SharedAddress(destination)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

// As TmaLoad4d, to every block of the cluster whose bit is set in `blocks`: at
// the same place in its shared memory, its bytes on the same barrier of its
// own.
__device__ __forceinline__ void TmaLoad4dMulticast(
    void* destination, const CUtensorMap* map, uint64_t* barrier, int32_t c0,
    int32_t c1, int32_t c2, int32_t c3, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile"
      ".mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(
          SharedAddress(destination)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3),
      "h"(blocks)
      : "memory");
}

__device__ __forceinline__ void TmaLoad2d(void* destination,
                                          const CUtensorMap* map,
                                          uint64_t* barrier, int32_t c0,
                                          int32_t c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile"
      ".mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          SharedAddress(destination)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1)
      : "memory");
}

// `bytes` (a multiple of 16) of contiguous memory, both ends 16-byte aligned.
__device__ __forceinline__ void BulkLoad(void* destination, const void* source,
                                         uint32_t bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1], %2, [%3];" ::"r"(SharedAddress(destination)),
      "l"(source), "r"(bytes), "r"(SharedAddress(barrier))
      : "memory");
}

// Brings `bytes` (a multiple of 16) from a 16-byte aligned address to L2.
__device__ __forceinline__ void BulkPrefetch(const void* source,
                                             uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(source),
               "r"(bytes)
               : "memory");
}

// From shared to global memory. The writer of the shared memory has executed
// FenceProxyAsync and a barrier before. Completion goes by groups.
__device__ __forceinline__ void TmaStore3d(const CUtensorMap* map,
                                           const void* source, int32_t c0,
                                           int32_t c1, int32_t c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group"
      " [%0, {%2, %3, %4}], [%1];" ::"l"(map),
      "r"(SharedAddress(source)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

// As TmaStore3d, adding to what is there.
__device__ __forceinline__ void TmaReduceAdd3d(const CUtensorMap* map,
                                               const void* source, int32_t c0,
                                               int32_t c1, int32_t c2) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.bulk_group"
      " [%0, {%2, %3, %4}], [%1];" ::"l"(map),
      "r"(SharedAddress(source)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

// Adds `bytes` of contiguous fp32 values to global memory.
__device__ __forceinline__ void BulkReduceAddF32(float* destination,
                                                 const void* source,
                                                 uint32_t bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32"
      " [%0], [%1], %2;" ::"l"(destination),
      "r"(SharedAddress(source)), "r"(bytes)
      : "memory");
}

__device__ __forceinline__ void TmaCommit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until at most kPending groups of this thread still read their source.
template <int kPending>
__device__ __forceinline__ void TmaWaitRead() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Until at most kPending groups of this thread are incomplete.
template <int kPending>
__device__ __forceinline__ void TmaWait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace intarsia::ptx
