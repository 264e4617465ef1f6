// Ice Lake's and Zen 4's instructions (target.h). Highway 1.0.3 has no
// operation for the dot products of these instruction sets.
#pragma once

#include "intarsia/formats/common/target.h"

#define INTARSIA_BEGIN_AVX512                                         \
  INTARSIA_BEGIN_TARGET(                                              \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,fma," \
      "f16c")
#define INTARSIA_END_AVX512 INTARSIA_END_TARGET
