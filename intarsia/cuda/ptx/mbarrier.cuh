// mbarriers: 64-bit barriers in shared memory that count arrivals and bytes.
// A barrier is in phase 0, 1, 0, ...; a phase ends when all arrivals have come
// and all announced bytes have landed. Waiting names the parity of the phase
// to wait for: on a fresh barrier Wait(bar, 1) passes at once (the phase
// "before" the first), Wait(bar, 0) waits for the first phase to end.
#pragma once

#include <cstdint>

#include "intarsia/cuda/ptx/address.cuh"

namespace intarsia::ptx {

// One thread initialises, then FenceMbarrierInit and a block barrier.
__device__ __forceinline__ void MbarrierInit(uint64_t* barrier,
                                             uint32_t arrivals) {
  asm volatile(
      "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
      "r"(arrivals)
      : "memory");
}

// Orders this thread's own accesses before the phase's end. One lane may arrive
// for its warp after __syncwarp; compute-sanitizer's racecheck follows that for
// what wgmma and TMA touch, but not for ordinary loads and stores: there every
// lane arrives, which costs no time that shows.
__device__ __forceinline__ void MbarrierArrive(uint64_t* barrier) {
  asm volatile(
      "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier))
      : "memory");
}

// Arrives and announces `bytes` that a copy will deliver in this phase.
__device__ __forceinline__ void MbarrierArriveExpect(uint64_t* barrier,
                                                     uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   SharedAddress(barrier)),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ bool MbarrierTryWait(uint64_t* barrier,
                                                uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(SharedAddress(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}

// Whether it has ended, without the short wait that a try may include.
__device__ __forceinline__ bool MbarrierTest(uint64_t* barrier,
                                             uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(SharedAddress(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}

// Waits until the phase of this parity has ended. With INTARSIA_SPIN_LIMIT
// defined (when trying out a kernel), a wait gives up after so many tries: a
// protocol error then shows as a wrong result, not as a device that hangs.
// (A trap there would make ptxas ignore setmaxnreg and spill.)
__device__ __forceinline__ void MbarrierWait(uint64_t* barrier,
                                             uint32_t parity) {
#ifdef INTARSIA_SPIN_LIMIT
  for (uint32_t tries = 0; !MbarrierTryWait(barrier, parity); ++tries) {
    if (tries > INTARSIA_SPIN_LIMIT) break;
  }
#else
  while (!MbarrierTryWait(barrier, parity)) {
  }
#endif
}

}  // namespace intarsia::ptx
