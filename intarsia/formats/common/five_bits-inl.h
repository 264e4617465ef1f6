// 5-bit codes of a block of 32: nibbles as in nibbles-inl.h and their fifth
// bits in four bytes, bit j that of number j.
#if defined(INTARSIA_FORMATS_FIVE_BITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_FORMATS_FIVE_BITS_INL_H_
#undef INTARSIA_FORMATS_FIVE_BITS_INL_H_
#else
#define INTARSIA_FORMATS_FIVE_BITS_INL_H_
#endif

#include "intarsia/formats/common/nibbles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {

using DI = hn::RebindToSigned<D>;

// Bit i at number i: what picks a lane's bit.
alignas(64) constexpr int32_t kBitOfNumber[16] = {
    1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
    1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};

HWY_INLINE hn::Vec<DI> FiveBits(const uint8_t* codes, const uint8_t* fifth,
                                int v) {
  const DI d;
  uint16_t half;  // of numbers 0..15 or 16..31
  std::memcpy(&half, fifth + (v * kLanes >= 16 ? 2 : 0), sizeof(half));
  const auto bit = hn::Load(d, kBitOfNumber + v * kLanes % 16);
  const auto set = hn::TestBit(hn::Set(d, half), bit);
  return hn::Or(hn::And(RawNibbles(codes, v), hn::Set(d, 15)),
                hn::IfThenElseZero(set, hn::Set(d, 16)));
}

}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
