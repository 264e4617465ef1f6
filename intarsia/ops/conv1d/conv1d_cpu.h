// Kernels of the convolution over n channels. `taps` are W rows of n weights,
// oldest input first.
#pragma once

#include <cstdint>

namespace intarsia::conv1d {

// y = bias + Σ_k taps[k] ⊙ inputs[k], summed in ascending k. Inputs are W
// pointers to rows; tap k begins at taps + k · taps_stride.
void Row(int64_t n, int64_t width, const float* const* inputs,
         const float* taps, int64_t taps_stride, const float* bias, float* y);

// One token, on the layouts of weight [n, W] and state [n, W−1]: y as Row
// computes it from the state and x, bit for bit; then the state drops its
// oldest input and takes x.
void Step(int64_t n, int64_t width, const float* x, const float* weight,
          const float* bias, float* state, float* y);

// Between a row per tap and a row per channel: out[w · n + c] = in[c · width +
// w], and back.
void ToRows(int64_t n, int64_t width, const float* in, float* out);
void ToColumns(int64_t n, int64_t width, const float* in, float* out);

}  // namespace intarsia::conv1d
