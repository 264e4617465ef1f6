// Panels (panels-inl.h) of formats with a scale a block: the dwords of the
// rows' blocks, turned to columns, so that they take as many bytes as the rows
// did.
#pragma once

#include "intarsia/formats/common/code_tables.h"
#include "intarsia/formats/common/panels-inl.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

// One dword a row.
using Dwords = uint32_t[2][kLanes];
INTARSIA_INLINE void Put(Dwords& to, int row, uint32_t dword) {
  to[row / kLanes][row % kLanes] = dword;
}

// fp16 scales and minima of the rows.
template <bool minimum>
struct Halves {
  static constexpr int kBytes = minimum ? 4 : 2;
  INTARSIA_INLINE Floats Scale(int half) const { return FromF16(scale[half]); }
  INTARSIA_INLINE Floats Minimum(int half) const {
    return FromF16(minima[half]);
  }
  // Of `row`'s block, which begins with them.
  INTARSIA_INLINE void Take(int row, const uint8_t* block) {
    scale[row / kLanes][row % kLanes] = ReadAt<uint16_t>(block);
    if constexpr (minimum) {
      minima[row / kLanes][row % kLanes] = ReadAt<uint16_t>(block + 2);
    }
  }

  uint16_t scale[2][kLanes];
  uint16_t minima[minimum ? 2 : 0][kLanes];
};

// Sixteen bytes a row: number i in the low half of byte i, number 16 + i in the
// high half.
struct Nibbles {
  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    constexpr int kShift = (c >= 8 ? 4 : 0) + c % 2 * 8;
    const Ints codes = ShiftWordsRight<kShift>(Load(dwords[c % 8 / 2][half]));
    return kShift == 12 ? codes : And(codes, SpreadWord(15));
  }
  INTARSIA_INLINE void Take(int row, const uint8_t* bytes) {
    for (int i = 0; i < 4; ++i) {
      Put(dwords[i], row, ReadAt<uint32_t>(bytes + 4 * i));
    }
  }

  Dwords dwords[4];
};

// kBits of each code, a number from bit kTo on: step c of the 16 / kBits that a
// dword holds has them at bit kBits c of both its words.
template <int kBits, int kTo>
struct Fields {
  static constexpr int kSteps = 16 / kBits;

  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    constexpr int kFrom = c % kSteps * kBits;
    constexpr int kMask = ((1 << kBits) - 1) << kTo;
    const Ints v = Load(dwords[c / kSteps][half]);
    if constexpr (kFrom < kTo) {
      return And(ShiftWordsLeft<kTo - kFrom>(v), SpreadWord(kMask));
    } else {
      return And(ShiftWordsRight<kFrom - kTo>(v), SpreadWord(kMask));
    }
  }
  // From the codes of a block.
  INTARSIA_INLINE void Take(int row, const uint8_t* codes) {
    const auto field = [&](int number) -> uint32_t {
      return codes[number] >> kTo & ((1 << kBits) - 1);
    };
    for (int i = 0; i < kBits; ++i) {
      uint32_t dword = 0;
      for (int step = 0; step < kSteps; ++step) {
        const int c = i * kSteps + step, number = c / 2 * 4 + c % 2;
        dword |= (field(number) | field(number + 2) << 16) << kBits * step;
      }
      Put(dwords[i], row, dword);
    }
  }

  Dwords dwords[kBits];
};

// q4_0, q4_1; with `five` q5_0, q5_1. Stored blocks: scale, minimum if
// `minimum`, fifth bits if `five`, bit i that of number i, nibbles.
template <bool minimum, bool five = false>
struct alignas(4 * kLanes) NibblePanel {
  static constexpr int kBytes = Halves<minimum>::kBytes + (five ? 4 : 0) + 16;
  static constexpr int kBlocks = 1;
  static constexpr int kOffset = minimum ? 0 : five ? 16 : 8;
  static constexpr bool kMinimum = minimum;
  static constexpr bool kWords = false;

  const NibblePanel& At(int) const { return *this; }
  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    const Ints low = nibbles.template Words<c>(half);
    if constexpr (five) {
      return Or(low, fifth[0].template Words<c>(half));
    } else {
      return low;
    }
  }
  INTARSIA_INLINE Floats Scale(int half) const { return head.Scale(half); }
  INTARSIA_INLINE Floats Minimum(int half) const { return head.Minimum(half); }

  INTARSIA_INLINE void TakeRow(int row, const uint8_t* block) {
    head.Take(row, block);
    if constexpr (five) {
      const auto bits = ReadAt<uint32_t>(block + kBytes - 20);
      uint8_t codes[32];
      for (int i = 0; i < 32; ++i) codes[i] = bits >> i << 4 & 16;
      fifth[0].Take(row, codes);
    }
    nibbles.Take(row, block + kBytes - 16);
  }

  Nibbles nibbles;
  Fields<1, 4> fifth[five ? 1 : 0];
  Halves<minimum> head;
};
static_assert(sizeof(NibblePanel<false>) == kRows * 18);
static_assert(sizeof(NibblePanel<true>) == kRows * 20);
static_assert(sizeof(NibblePanel<false, true>) == kRows * 22);
static_assert(sizeof(NibblePanel<true, true>) == kRows * 24);

// iq4_nl, mxfp4. Stored blocks: scale, nibbles that pick from the table.
template <class Head, const int8_t* table>
struct alignas(4 * kLanes) TablePanel {
  static constexpr int kBytes = Head::kBytes + 16;
  static constexpr int kBlocks = 1;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = false;

  const TablePanel& At(int) const { return *this; }
  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    return Lookup(LoadTable(table), nibbles.template Words<c>(half));
  }
  INTARSIA_INLINE Floats Scale(int half) const { return head.Scale(half); }

  INTARSIA_INLINE void TakeRow(int row, const uint8_t* block) {
    head.Take(row, block);
    nibbles.Take(row, block + Head::kBytes);
  }

  Nibbles nibbles;
  Head head;
};
using Iq4NlPanel = TablePanel<Halves<false>, kIq4Values>;
static_assert(sizeof(Iq4NlPanel) == kRows * 18);

// q8_0. Stored blocks: scale, 32 signed bytes; here 128 more, unsigned.
struct alignas(4 * kLanes) BytePanel {
  static constexpr int kBytes = 34;
  static constexpr int kBlocks = 1;
  static constexpr int kOffset = 128;
  static constexpr bool kMinimum = false;
  static constexpr bool kWords = false;

  const BytePanel& At(int) const { return *this; }
  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    const Ints codes = Load(dwords[c / 2][half]);
    return c % 2 == 0 ? And(codes, SpreadWord(255)) : ShiftWordsRight<8>(codes);
  }
  INTARSIA_INLINE Floats Scale(int half) const { return head.Scale(half); }

  INTARSIA_INLINE void TakeRow(int row, const uint8_t* block) {
    head.Take(row, block);
    for (int i = 0; i < 8; ++i) {
      Put(dwords[i], row, ReadAt<uint32_t>(block + 2 + 4 * i) ^ 0x80808080u);
    }
  }

  Dwords dwords[8];
  Halves<false> head;
};
static_assert(sizeof(BytePanel) == kRows * 34);

// PreparedKernels::pack: absent rows become zeros.
template <class Panel>
void PackCodes(const std::byte* w, size_t w_stride, int64_t rows, int64_t k,
               std::byte* out) {
  static constexpr uint8_t kNothing[Panel::kBytes] = {};
  auto* panel = reinterpret_cast<Panel*>(out);
  for (int64_t b = 0; b < k / 32 / Panel::kBlocks; ++b) {
    for (int row = 0; row < kRows; ++row) {
      panel[b].TakeRow(row, row < rows ? reinterpret_cast<const uint8_t*>(w) +
                                             row * w_stride + b * Panel::kBytes
                                       : kNothing);
    }
  }
}

template <class Panel>
constexpr PreparedKernels CodeKernels() {
  return Kernels<Panel>(&PackCodes<Panel>);
}

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
