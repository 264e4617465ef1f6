// The instructions of Haswell, Zen and later (target.h).
#pragma once

#include "intarsia/formats/common/target.h"

#define INTARSIA_BEGIN_AVX2 INTARSIA_BEGIN_TARGET("avx2,fma,f16c")
#define INTARSIA_END_AVX2 INTARSIA_END_TARGET
