// Gradients of decays and of gates of heads, for delta_cpu.cc alone. Tensors
// are contiguous.
#pragma once

#include "intarsia/autograd/tape.h"
#include "intarsia/mixers/delta/delta.h"

namespace intarsia::delta_internal {

Tape::BackwardFn LogDecaysVjp(Tape* tape, const Tensor& raw,
                              const Weight& dt_bias, const Weight& a_log,
                              float floor, const Tensor& decays);
Tape::BackwardFn GateHeadsVjp(const Tensor& x, const Tensor& gate);

}  // namespace intarsia::delta_internal
