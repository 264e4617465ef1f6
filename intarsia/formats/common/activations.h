// Activations as integers, for the products with integer codes.
//
//   x_i ≈ scale (128 high_i + low_i)        high in ±127, low in -64..63
//
// One fp32 scale a block of 32, max |x| / 16256, so an activation errs by at
// most 2^-15 of the largest of its block. Two planes of bytes, because
// vpdpbusd multiplies bytes: one plane (8 bits) would err by 2^-8, and on
// SmolLM2-135M that alone costs a KL of 4e-3 and 4 % of the first choices.
#pragma once

#include <cstddef>
#include <cstdint>

namespace intarsia::formats {

inline constexpr int kCodeLimit = 127 * 128;

// Four blocks of 32. Both planes hold numbers 0..15 of each block, then numbers
// 16..31 of each, as the halves of four blocks of nibbles lie in a register.
// Scales stand four times, the lanes of one block in a register of 4 × 4.
// Blocks past the end of a row are zeros.
struct alignas(64) ActivationGroup {
  int8_t high[128];
  int8_t low[128];
  float scale[16];
  float sum[16];      // scale · Σ code
  int32_t codes[16];  // Σ code
};
static_assert(sizeof(ActivationGroup) == 448);

// K is a multiple of 32. A block with NaN or an infinity gets scale NaN.
size_t ActivationBytes(int64_t k);
void PrepareActivations(const float* x, int64_t k, std::byte* out);

}  // namespace intarsia::formats
