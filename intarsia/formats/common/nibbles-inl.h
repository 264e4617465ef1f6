// 4-bit codes of a block of 32: byte j holds number j in its low half and
// number j + 16 in its high half.
#if defined(INTARSIA_FORMATS_NIBBLES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_FORMATS_NIBBLES_INL_H_
#undef INTARSIA_FORMATS_NIBBLES_INL_H_
#else
#define INTARSIA_FORMATS_NIBBLES_INL_H_
#endif

#include "intarsia/formats/common/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {

// Bytes under numbers [v·lanes, +lanes), widened, the code in the low 4 bits;
// what stands above them is left there.
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> RawNibbles(const uint8_t* codes,
                                                     int v) {
  const hn::Rebind<uint8_t, D> du8;
  const hn::RebindToSigned<D> di32;
  const bool high = v * kLanes >= 16;
  const auto bytes = hn::LoadU(du8, codes + v * kLanes % 16);
  const auto wide = hn::PromoteTo(di32, bytes);
  return high ? hn::ShiftRight<4>(wide) : wide;
}

// The codes 0..15 as floats.
HWY_INLINE V Nibbles(D d, const uint8_t* codes, int v) {
  const hn::RebindToSigned<D> di32;
  return hn::ConvertTo(d, hn::And(RawNibbles(codes, v), hn::Set(di32, 15)));
}

// table[code]: one permutation instead of conversion and multiply-add.
HWY_INLINE V LookUpNibbles(D, const uint8_t* codes, V table, int v) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  // vpermps reads just the low four bits of each index.
  return V{_mm512_permutexvar_ps(RawNibbles(codes, v).raw, table.raw)};
#else
  (void)codes, (void)v;  // never called: vectors of 16 are AVX-512's
  return table;
#endif
}

}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
