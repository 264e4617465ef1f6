// Packed rows of iq4_xs (common/panels-inl.h).
#pragma once

#include "intarsia/formats/common/super_panels-inl.h"
#include "intarsia/formats/iq4_xs/iq4_xs_scales.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

// iq4_xs: number = d scale table[code], a scale of 6 bits a block.
struct alignas(4 * kLanes) Iq4XsPanel {
  static constexpr int kBytes = 2 + 2 + 4 + 128;
  static constexpr int kBlocks = kSuperBlocks;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = false;

  struct Block {
    template <int c>
    INTARSIA_INLINE Ints Words(int half) const {
      return Lookup(LoadTable(kIq4Values), of->nibbles[b].Words<c>(half));
    }
    INTARSIA_INLINE Floats Scale(int half) const {
      return Mul(FromF16(of->d[half]),
                 ToFloats(FromBytes(of->scales[b][half])));
    }
    const Iq4XsPanel* of;
    int b;
  };
  INTARSIA_INLINE Block At(int b) const { return {this, b}; }

  void TakeRow(int row, const uint8_t* stored) {
    const int half = row / kLanes, lane = row % kLanes;
    d[half][lane] = ReadAt<uint16_t>(stored);
    int8_t small[kBlocks];
    UnpackIq4XsScales(stored + 2, small);
    for (int b = 0; b < kBlocks; ++b) {
      scales[b][half][lane] = small[b];
      nibbles[b].Take(row, stored + 8 + 16 * b);
    }
  }

  Nibbles nibbles[kBlocks];
  ByteRows scales[kBlocks];
  uint16_t d[2][kLanes];
};
static_assert(sizeof(Iq4XsPanel) == kRows * (136 + 2));

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
