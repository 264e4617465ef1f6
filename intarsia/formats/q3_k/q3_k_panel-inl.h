// Packed rows of q3_k (common/panels-inl.h).
#pragma once

#include "intarsia/formats/common/super_panels-inl.h"
#include "intarsia/formats/q3_k/q3_k_scales.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

// q3_k: number = d scale (code - 4), scales of 6 bits a group of 16.
struct alignas(4 * kLanes) Q3KPanel {
  static constexpr int kBytes = 32 + 64 + 12 + 2;
  static constexpr int kBlocks = kSuperBlocks;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = false;

  struct Block {
    template <int c>
    INTARSIA_INLINE Ints Words(int half) const {
      return scales.Times<c>(
          Or(of->low[b].Words<c>(half), of->third[b].Words<c>(half)), 4, half);
    }
    INTARSIA_INLINE Floats Scale(int half) const {
      return FromF16(of->d[half]);
    }
    const Q3KPanel* of;
    int b;
    GroupScales scales;
  };
  INTARSIA_INLINE Block At(int b) const {
    return {this, b, GroupScales(scales + 2 * b)};
  }

  void TakeRow(int row, const uint8_t* stored) {
    const int half = row / kLanes, lane = row % kLanes;
    d[half][lane] = ReadAt<uint16_t>(stored + 108);
    int8_t small[16];
    UnpackQ3KScales(stored + 96, small);
    for (int g = 0; g < 16; ++g) scales[g][half][lane] = small[g];
    for (int b = 0; b < kBlocks; ++b) {
      uint8_t codes[32];
      for (int i = 0; i < 32; ++i) {
        codes[i] = (stored[32 + b / 4 * 32 + i] >> (b % 4 * 2) & 3) |
                   (stored[i] >> b & 1) << 2;
      }
      low[b].Take(row, codes);
      third[b].Take(row, codes);
    }
  }

  Fields<2, 0> low[kBlocks];
  Fields<1, 2> third[kBlocks];
  ByteRows scales[2 * kBlocks];
  uint16_t d[2][kLanes];
};
static_assert(sizeof(Q3KPanel) == kRows * (110 + 4));

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
