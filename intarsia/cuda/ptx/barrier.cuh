// Named barriers: the sixteen hardware barriers of a block, for groups of
// warps. 0 is __syncthreads. `threads` counts everybody who syncs or arrives,
// a multiple of 32, and must be the same in all calls of one phase.
#pragma once

#include <cstdint>

namespace intarsia::ptx {

// Arrives and waits for the rest.
__device__ __forceinline__ void NamedBarrierSync(uint32_t id,
                                                 uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Arrives and goes on: "your turn" to a group that syncs on the same id.
__device__ __forceinline__ void NamedBarrierArrive(uint32_t id,
                                                   uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace intarsia::ptx
