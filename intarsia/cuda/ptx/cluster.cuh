// Clusters: blocks that run together and reach each other's shared memory.
// Addresses "in the cluster" come from MapToRank and name the same variable of
// another block.
#pragma once

#include <cstdint>

namespace intarsia::ptx {

__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ __forceinline__ uint32_t MapToRank(uint32_t shared_address,
                                              uint32_t rank) {
  uint32_t mapped;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(mapped)
      : "r"(shared_address), "r"(rank));
  return mapped;
}

// All threads of all blocks of the cluster.
__device__ __forceinline__ void ClusterSync() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

// 16 bytes to another block; they count on `barrier`, of the same block. Both
// addresses are in the cluster, `destination` 16-byte aligned.
__device__ __forceinline__ void StoreAsync4(uint32_t destination,
                                            uint32_t barrier, float a, float b,
                                            float c, float d) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32"
      " [%0], {%2, %3, %4, %5}, [%1];" ::"r"(destination),
      "r"(barrier), "r"(__float_as_uint(a)), "r"(__float_as_uint(b)),
      "r"(__float_as_uint(c)), "r"(__float_as_uint(d))
      : "memory");
}

// Arrives on a barrier of another block.
__device__ __forceinline__ void MbarrierArriveCluster(uint32_t barrier) {
  asm volatile(
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(
          barrier)
      : "memory");
}

// The same without the fence of the cluster: after nothing but reads, of tensor
// cores or the copy engine, that this thread has waited for.
__device__ __forceinline__ void MbarrierArriveClusterRelaxed(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier)
               : "memory");
}

}  // namespace intarsia::ptx
