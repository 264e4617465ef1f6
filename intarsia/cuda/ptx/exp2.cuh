// 2^x in two ways. The special-function unit gives 16 results a clock and
// multiprocessor; where a kernel needs more exponentials than that, some go to
// the FMA pipes as a polynomial instead (the idea is from FlashAttention-4).
#pragma once

#include <cstdint>

namespace intarsia::ptx {

// ex2.approx: relative error 2^-22, flushes denormals, 2^-inf = 0.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// On FMA and integer pipes, for x < 128. x is split into an integer n, added
// to the exponent bits, and a rest in [-1/2, 1/2], whose power comes from a
// polynomial of degree 3 (relative error 7.5e-5: for values that are rounded
// to bf16 next) or 4 (2.6e-6). Below -126 the result is 2^-126: as good as 0
// in a sum with a term of 1.
template <int kDegree = 3>
__device__ __forceinline__ float Exp2Polynomial(float x) {
  static_assert(kDegree == 3 || kDegree == 4);
  x = fmaxf(x, -126.0f);
  // Adding 1.5 x 2^23 leaves round(x) in the low mantissa bits.
  const float shifted = x + 12582912.0f;
  const float rest = x - (shifted - 12582912.0f);
  // Coefficients minimise the largest relative error on [-1/2, 1/2].
  float p;
  if constexpr (kDegree == 3) {
    p = 0.05517167f;
    p = fmaf(p, rest, 0.24261113f);
    p = fmaf(p, rest, 0.69326099f);
    p = fmaf(p, rest, 0.99992807f);
  } else {
    p = 0.0095701021f;
    p = fmaf(p, rest, 0.055917861f);
    p = fmaf(p, rest, 0.24024745f);
    p = fmaf(p, rest, 0.69312181f);
    p = fmaf(p, rest, 0.99999926f);
  }
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

}  // namespace intarsia::ptx
