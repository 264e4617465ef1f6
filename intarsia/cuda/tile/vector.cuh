// 16-byte memory accesses and bf16 packing: the words that memory-bound
// kernels are made of. A bf16 is the upper half of a float, so unpacking is a
// shift or a mask and costs no conversion.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace intarsia::cuda {

// Eight bf16 or four floats, moved by one instruction. Addresses passed to
// the functions below are 16-byte aligned.
struct alignas(16) Vec16 {
  uint32_t word[4];
};

__device__ __forceinline__ Vec16 LoadVec(const void* p) {
  Vec16 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]),
                 "=r"(v.word[3])
               : "l"(p));
  return v;
}

// For data that this kernel reads once and nobody writes while it runs: does
// not displace the lines of L1 that are worth keeping.
__device__ __forceinline__ Vec16 LoadVecStream(const void* p) {
  Vec16 v;
  asm volatile(
      "ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
      : "l"(p));
  return v;
}

__device__ __forceinline__ void StoreVec(void* p, const Vec16& v) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p),
               "r"(v.word[0]), "r"(v.word[1]), "r"(v.word[2]), "r"(v.word[3])
               : "memory");
}

// For results that no kernel reads soon: first to leave L2.
__device__ __forceinline__ void StoreVecStream(void* p, const Vec16& v) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p),
               "r"(v.word[0]), "r"(v.word[1]), "r"(v.word[2]), "r"(v.word[3])
               : "memory");
}

// The two bf16 of a word; `low` is the one at the lower address.
__device__ __forceinline__ float LowBf16(uint32_t word) {
  return __uint_as_float(word << 16);
}
__device__ __forceinline__ float HighBf16(uint32_t word) {
  return __uint_as_float(word & 0xffff0000u);
}

// Rounds to nearest even.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

__device__ __forceinline__ void Unpack8(const Vec16& v, float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = LowBf16(v.word[i]);
    x[2 * i + 1] = HighBf16(v.word[i]);
  }
}

__device__ __forceinline__ Vec16 Pack8(const float (&x)[8]) {
  Vec16 v;
#pragma unroll
  for (int i = 0; i < 4; ++i) v.word[i] = PackBf16(x[2 * i], x[2 * i + 1]);
  return v;
}

__device__ __forceinline__ void Unpack4(const Vec16& v, float (&x)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = __uint_as_float(v.word[i]);
}

__device__ __forceinline__ Vec16 Pack4(const float (&x)[4]) {
  Vec16 v;
#pragma unroll
  for (int i = 0; i < 4; ++i) v.word[i] = __float_as_uint(x[i]);
  return v;
}

// exp2 and log2 by the special-function unit: 2 ulp or so; denormal results
// flush to zero.
__device__ __forceinline__ float FastExp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float FastLog2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

__device__ __forceinline__ float Silu(float x) {
  return __fdividef(x, 1.0f + FastExp2(-kLog2E * x));
}

// log(1 + e^x), the identity above 20 as in the published models.
__device__ __forceinline__ float Softplus(float x) {
  const float e = FastExp2(kLog2E * x);
  // Below 2^-12 the logarithm of 1 + e loses e; its series does not.
  const float y = e < 2.44e-4f ? e - 0.5f * e * e : kLn2 * FastLog2(1.0f + e);
  return x > 20.0f ? x : y;
}

}  // namespace intarsia::cuda
