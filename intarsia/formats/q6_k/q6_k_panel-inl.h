// Packed rows of q6_k (common/panels-inl.h).
#pragma once

#include "intarsia/formats/common/super_panels-inl.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

// q6_k: number = d scale (code - 32), scales of 8 bits a group of 16.
struct alignas(4 * kLanes) Q6KPanel {
  static constexpr int kBytes = 128 + 64 + 16 + 2;
  static constexpr int kBlocks = kSuperBlocks;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = false;

  struct Block {
    template <int c>
    INTARSIA_INLINE Ints Words(int half) const {
      return scales.Times<c>(
          Or(of->nibbles[b].Words<c>(half), of->upper[b].Words<c>(half)), 32,
          half);
    }
    INTARSIA_INLINE Floats Scale(int half) const {
      return FromF16(of->d[half]);
    }
    const Q6KPanel* of;
    int b;
    GroupScales scales;
  };
  INTARSIA_INLINE Block At(int b) const {
    return {this, b, GroupScales(scales + 2 * b)};
  }

  void TakeRow(int row, const uint8_t* stored) {
    const int half = row / kLanes, lane = row % kLanes;
    d[half][lane] = ReadAt<uint16_t>(stored + 208);
    for (int g = 0; g < 16; ++g) {
      scales[g][half][lane] = static_cast<int8_t>(stored[192 + g]);
    }
    for (int b = 0; b < kBlocks; ++b) {
      const uint8_t* low = stored + b / 4 * 64 + b % 2 * 32;
      const uint8_t* high = stored + 128 + b / 4 * 32;
      uint8_t codes[32];
      for (int i = 0; i < 32; ++i) {
        codes[i] = (low[i] >> (b % 4 / 2 * 4) & 15) |
                   (high[i] >> (b % 4 * 2) & 3) << 4;
      }
      TakeNibbles(nibbles[b], row, codes);
      upper[b].Take(row, codes);
    }
  }

  Nibbles nibbles[kBlocks];
  Fields<2, 4> upper[kBlocks];
  ByteRows scales[2 * kBlocks];
  uint16_t d[2][kLanes];
};
static_assert(sizeof(Q6KPanel) == kRows * 210);

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
