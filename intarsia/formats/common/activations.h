// Activations as integers, for the products with integer codes.
//
//   x_i ≈ scale · code_i        code = 128 high + low, in ±127 · 128
//
// One fp32 scale a block of 32, max |x| / 16256, so an activation errs by at
// most 2^-15 of the largest of its block. 8 bits would err by 2^-8, and on
// SmolLM2-135M that alone costs a KL of 4e-3 and 4 % of the first choices.
// Every CPU rounds to the same codes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace intarsia::formats {

inline constexpr int kCodeLimit = 127 * 128;

// Four blocks of 32. Scales and sums stand four times, the lanes of one block
// in a register of 4 × 4 (or half of one). Blocks past the end of a row are
// zeros.
struct alignas(64) ActivationScales {
  float scale[16];
  float sum[16];      // scale · Σ code
  int32_t codes[16];  // Σ code
};

// For vpdpbusd, which multiplies bytes: two planes, high in ±127 and low in
// -64..63. Both hold numbers 0..15 of each block, then numbers 16..31 of each,
// as the halves of four blocks of nibbles lie in a register.
struct PlaneGroup {
  alignas(64) int8_t high[128];
  int8_t low[128];
  ActivationScales of;
};

// For vpmaddwd and vpdpwssd, which multiply pairs of 16-bit numbers: the codes
// of each four numbers as (0, 2), (1, 3), as masks take them from a dword of
// bytes or nibbles.
struct WordGroup {
  alignas(64) int16_t code[4][32];
  ActivationScales of;
};
static_assert(sizeof(PlaneGroup) == 448 && sizeof(WordGroup) == 448);

// Bytes of a prepared row of either kind.
inline size_t ActivationBytes(int64_t k) {
  return static_cast<size_t>((k + 127) / 128) * sizeof(WordGroup);
}

// K is a multiple of 32. A block with NaN or an infinity gets scale NaN.
void PreparePlanes(const float* x, int64_t k, std::byte* out);  // AVX-512
void PrepareWords(const float* x, int64_t k, std::byte* out);   // AVX2

}  // namespace intarsia::formats
