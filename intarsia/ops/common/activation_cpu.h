// Activations of n contiguous floats; inputs and outputs may coincide. A value
// does not depend on where in the array it stands.
#pragma once

#include <cstdint>

#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia::elementwise {

// out[0] = act(in[0]).
void Forward(Activation kind, int64_t n, const float* const* in,
             float* const* out);
// in: x, g. out[0] = g act'(x).
void Backward(Activation kind, int64_t n, const float* const* in,
              float* const* out);
// in: gate, up. out[0] = act(gate) up.
void Gated(Activation kind, int64_t n, const float* const* in,
           float* const* out);
// in: gate, up, g. out: g up act'(gate), g act(gate).
void GatedBackward(Activation kind, int64_t n, const float* const* in,
                   float* const* out);

}  // namespace intarsia::elementwise
