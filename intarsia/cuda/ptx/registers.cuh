// setmaxnreg: moves registers between the warpgroups of a block. All warps of
// a warpgroup execute it; counts are multiples of 8 in [24, 256], and the
// kernel needs __launch_bounds__(threads, 1). What one warpgroup may take is
// what others gave: the sum over all warpgroups must not pass warpgroups x the
// count that the kernel is launched with (65536 / threads, rounded down to 8:
// 168 with 384 threads, 128 with 512), or the increase waits for ever.
#pragma once

#include <cstdint>

namespace intarsia::ptx {

template <uint32_t kRegisters>
__device__ __forceinline__ void IncreaseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <uint32_t kRegisters>
__device__ __forceinline__ void DecreaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace intarsia::ptx
