// Order between the two ways into shared memory: ordinary loads and stores
// (the generic proxy) and the tensor cores and copy engine (the async proxy).
#pragma once

namespace intarsia::ptx {

// Makes this thread's ordinary shared-memory accesses visible to later wgmma
// and TMA. Every writing thread executes it, then a barrier follows.
__device__ __forceinline__ void FenceProxyAsync() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Makes initialised mbarriers visible to the copy engine.
__device__ __forceinline__ void FenceMbarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

}  // namespace intarsia::ptx
