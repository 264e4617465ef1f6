// Packed rows of mxfp4 (common/panels-inl.h).
#pragma once

#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/mxfp4/e8m0.h"

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

// A power of two a row (e8m0.h), kept as bf16.
struct Powers {
  static constexpr int kBytes = 1;
  INTARSIA_INLINE Floats Scale(int half) const { return FromBF16(scale[half]); }
  INTARSIA_INLINE void Take(int row, const uint8_t* block) {
    const float power = HalfOfE8M0(block[0]);
    scale[row / kLanes][row % kLanes] =
        static_cast<uint16_t>(ReadAt<uint32_t>(&power) >> 16);
  }

  uint16_t scale[2][kLanes];
};

using Mxfp4Panel = TablePanel<Powers, kMxfp4Values>;
static_assert(sizeof(Mxfp4Panel) == kRows * 18);

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
