// ldmatrix and stmatrix: a warp moves four 8x8 matrices of 16-bit elements
// between shared memory and the fragments of the tensor cores. Lane l names
// the address of row l % 8 of matrix l / 8 (16 bytes, 16-byte aligned); in
// registers, lane l holds elements 2 (l % 4) and + 1 of row l / 4.
#pragma once

#include <cstdint>

#include "intarsia/cuda/ptx/address.cuh"

namespace intarsia::ptx {

__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4],
                                            uint32_t shared_address) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
      : "r"(shared_address)
      : "memory");
}

// As LoadMatrix4, each matrix transposed on the way.
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&r)[4],
                                                      uint32_t shared_address) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
      : "r"(shared_address)
      : "memory");
}

__device__ __forceinline__ void StoreMatrix4(uint32_t shared_address,
                                             uint32_t r0, uint32_t r1,
                                             uint32_t r2, uint32_t r3) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
          shared_address),
      "r"(r0), "r"(r1), "r"(r2), "r"(r3)
      : "memory");
}

__device__ __forceinline__ void StoreMatrix4Transposed(uint32_t shared_address,
                                                       uint32_t r0, uint32_t r1,
                                                       uint32_t r2,
                                                       uint32_t r3) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, "
      "%4};" ::"r"(shared_address),
      "r"(r0), "r"(r1), "r"(r2), "r"(r3)
      : "memory");
}

// Two fp32 values rounded to bf16, `low` in the lower half.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

}  // namespace intarsia::ptx
