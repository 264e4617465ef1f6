// Panels (panels-inl.h) of formats that share scales among 256 numbers: eight
// blocks of 32 a row, the small scales as bytes.
#pragma once

#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/common/six_bit_scales.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

inline constexpr int kSuperBlocks = 8;

// One signed byte a row.
using ByteRows = int8_t[2][kLanes];

// The low halves of a block's codes, as Nibbles takes them.
INTARSIA_INLINE void TakeNibbles(Nibbles& to, int row, const uint8_t* codes) {
  uint8_t bytes[16];
  for (int i = 0; i < 16; ++i) {
    bytes[i] = static_cast<uint8_t>((codes[i] & 15) | codes[16 + i] << 4);
  }
  to.Take(row, bytes);
}

// q4_k, q5_k (`five`): number = d scale code - dmin minimum, a scale and a
// minimum of 6 bits a block.
template <bool five>
struct alignas(4 * kLanes) LinearPanel {
  static constexpr int kBytes = 2 + 2 + 12 + (five ? 32 : 0) + 128;
  static constexpr int kBlocks = kSuperBlocks;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  static constexpr bool kWords = false;

  struct Block {
    template <int c>
    INTARSIA_INLINE Ints Words(int half) const {
      const Ints low = of->nibbles[b].template Words<c>(half);
      if constexpr (five) {
        return Or(low, of->fifth[b].template Words<c>(half));
      } else {
        return low;
      }
    }
    INTARSIA_INLINE Floats Scale(int half) const {
      return Mul(FromF16(of->d[half]),
                 ToFloats(FromBytes(of->scales[b][half])));
    }
    INTARSIA_INLINE Floats Minimum(int half) const {
      return Mul(FromF16(of->minus_dmin[half]),
                 ToFloats(FromBytes(of->minima[b][half])));
    }
    const LinearPanel* of;
    int b;
  };
  INTARSIA_INLINE Block At(int b) const { return {this, b}; }

  void TakeRow(int row, const uint8_t* stored) {
    const int half = row / kLanes, lane = row % kLanes;
    d[half][lane] = ReadAt<uint16_t>(stored);
    minus_dmin[half][lane] = ReadAt<uint16_t>(stored + 2) ^ 0x8000;
    uint8_t small[16];
    UnpackSixBitScales(stored + 4, small);
    const uint8_t* low = stored + kBytes - 128;
    for (int b = 0; b < kBlocks; ++b) {
      scales[b][half][lane] = static_cast<int8_t>(small[b]);
      minima[b][half][lane] = static_cast<int8_t>(small[8 + b]);
      uint8_t codes[32];
      for (int i = 0; i < 32; ++i) {
        codes[i] = low[b / 2 * 32 + i] >> (b % 2 * 4) & 15;
        if (five) codes[i] |= (stored[16 + i] >> b & 1) << 4;
      }
      TakeNibbles(nibbles[b], row, codes);
      if constexpr (five) fifth[b].Take(row, codes);
    }
  }

  Nibbles nibbles[kBlocks];
  Fields<1, 4> fifth[five ? kBlocks : 0];
  ByteRows scales[kBlocks], minima[kBlocks];
  uint16_t d[2][kLanes], minus_dmin[2][kLanes];
};
static_assert(sizeof(LinearPanel<false>) == kRows * (144 + 4));
static_assert(sizeof(LinearPanel<true>) == kRows * (176 + 4));

// A scale of 16 numbers is part of the codes: code · scale has 13 bits at most,
// and a block's products still sum exactly in 32 (32 · 32 · 128 · kCodeLimit <
// 2^31).
struct GroupScales {
  INTARSIA_INLINE explicit GroupScales(const ByteRows* scales)
      : words{{WordsFromBytes(scales[0][0]), WordsFromBytes(scales[0][1])},
              {WordsFromBytes(scales[1][0]), WordsFromBytes(scales[1][1])}} {}
  // The codes of step c, `offset` less.
  template <int c>
  INTARSIA_INLINE Ints Times(Ints codes, int16_t offset, int half) const {
    return MulWords(SubWords(codes, SpreadWord(offset)), words[c / 8][half]);
  }
  Ints words[2][2];  // of numbers 0..15 and 16..31
};

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
