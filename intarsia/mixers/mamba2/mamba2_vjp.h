// The doors of Mamba-2's own operations, and their gradients.
#pragma once

#include <vector>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/mamba2/mamba2_cuda.h"

namespace intarsia {

inline std::vector<Tensor*> TapeOutputs(Mamba2Steps* steps) {
  return {&steps->log_decay, &steps->value};
}

namespace mamba2_internal {

inline OpDoor<mamba2_cuda::Kernels> Door(const char* name) {
  return {name, "mamba2", mamba2_cuda::kernels};
}

// Δ before the limits. Beyond 20 it is its argument in fp32.
float Softplus(float x);

// x, raw: contiguous.
Tape::BackwardFn DiscretizeVjp(Tape* tape, const Tensor& raw, const Tensor& x,
                               const Weight& dt_bias, const Weight& a_log,
                               float dt_min, float dt_max);
Tape::BackwardFn SkipVjp(Tape* tape, const Tensor& x, const Weight& d);

}  // namespace mamba2_internal
}  // namespace intarsia
