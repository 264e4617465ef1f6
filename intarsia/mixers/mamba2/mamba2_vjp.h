// What the tape notes for Mamba-2's own operations. For mamba2_cpu.cc alone.
#pragma once

#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia {

// delta: the clamped steps [T, H].
void RecordDiscretize(Context& ctx, const Tensor& raw, const Tensor& x,
                      const Weight& dt_bias, const Weight& a_log,
                      const Tensor& delta, float dt_min, float dt_max,
                      Mamba2Steps* steps);
void RecordAddSkip(Context& ctx, const Tensor& y, const Tensor& x,
                   const Weight& d, Tensor* out);

}  // namespace intarsia
