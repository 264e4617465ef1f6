// Compiles the functions between INTARSIA_BEGIN_AVX512 and INTARSIA_END_AVX512
// for Ice Lake's and Zen 4's instructions, the rest of the file for the
// baseline: what paths.h chooses may be called only where it says so. Highway
// 1.0.3 has no operation for the dot products of these instruction sets.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns of its own headers' "undefined" registers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#define INTARSIA_AVX512_FEATURES                                  \
  "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,fma," \
  "f16c"
#define INTARSIA_PRAGMA(text) _Pragma(#text)
#define INTARSIA_PRAGMA_OF(text) INTARSIA_PRAGMA(text)

#if defined(__clang__)
#define INTARSIA_BEGIN_AVX512              \
  INTARSIA_PRAGMA_OF(clang attribute push( \
      __attribute__((target(INTARSIA_AVX512_FEATURES))), apply_to = function))
#define INTARSIA_END_AVX512 _Pragma("clang attribute pop")
#else
#define INTARSIA_BEGIN_AVX512 \
  _Pragma("GCC push_options") \
      INTARSIA_PRAGMA_OF(GCC target(INTARSIA_AVX512_FEATURES))
#define INTARSIA_END_AVX512 _Pragma("GCC pop_options")
#endif

#define INTARSIA_INLINE inline __attribute__((always_inline))

#ifndef INTARSIA_UNROLL
#if defined(__clang__)
#define INTARSIA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define INTARSIA_UNROLL _Pragma("GCC unroll 32")
#endif
#endif
