// Adds four fp32 values to 16-byte aligned global memory, without a result:
// one transaction for a warp's 512 contiguous bytes.
#pragma once

namespace intarsia::ptx {

__device__ __forceinline__ void ReduceAdd4(float* address, float a, float b,
                                           float c, float d) {
  asm volatile(
      "red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
          address),
      "f"(a), "f"(b), "f"(c), "f"(d)
      : "memory");
}

}  // namespace intarsia::ptx
