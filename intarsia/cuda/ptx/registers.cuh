// setmaxnreg: moves registers between the warpgroups of a block. All warps of
// a warpgroup execute it; counts are multiples of 8 in [24, 256]. The sum over
// the block's threads must fit the 64 Ki registers of a multiprocessor, and
// the kernel needs __launch_bounds__(threads, 1).
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
