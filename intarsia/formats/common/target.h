// Functions for an instruction set beyond the build's baseline. What stands
// between INTARSIA_BEGIN_TARGET(features) and INTARSIA_END_TARGET is compiled
// for these features, the rest of the file for the baseline: only what paths.h
// chooses may call it.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns of its own headers' "undefined" registers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#define INTARSIA_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define INTARSIA_BEGIN_TARGET(features)                                   \
  INTARSIA_PRAGMA(clang attribute push(__attribute__((target(features))), \
                                       apply_to = function))
#define INTARSIA_END_TARGET _Pragma("clang attribute pop")
#else
#define INTARSIA_BEGIN_TARGET(features) \
  _Pragma("GCC push_options") INTARSIA_PRAGMA(GCC target(features))
#define INTARSIA_END_TARGET _Pragma("GCC pop_options")
#endif

#define INTARSIA_INLINE inline __attribute__((always_inline))

#ifndef INTARSIA_UNROLL
#if defined(__clang__)
#define INTARSIA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define INTARSIA_UNROLL _Pragma("GCC unroll 32")
#endif
#endif
