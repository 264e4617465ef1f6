// 4-bit codes that pick from a table of 16 small integers (code_tables.h), 16
// bytes for 32 numbers as in nibbles-inl.h.
#if defined(INTARSIA_FORMATS_TABLE_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_FORMATS_TABLE_CODES_INL_H_
#undef INTARSIA_FORMATS_TABLE_CODES_INL_H_
#else
#define INTARSIA_FORMATS_TABLE_CODES_INL_H_
#endif

#include "intarsia/formats/common/code_tables.h"
#include "intarsia/formats/common/nibbles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {

// What a vector of 16 looks up: the table times the scale. Narrower vectors
// keep the scale and look up bytes.
HWY_INLINE V BeginTable(D d, const int8_t (&table)[16], V scale) {
  if constexpr (kLanes != 16) return scale;
  const hn::Rebind<int8_t, D> di8;
  const hn::RebindToSigned<D> di32;
  return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(di32, hn::LoadU(di8, table))),
                 scale);
}

HWY_INLINE V TableNumbers(D d, const uint8_t* codes, const int8_t (&table)[16],
                          V begun, int v) {
  if constexpr (kLanes == 16) return LookUpNibbles(d, codes, begun, v);
#if HWY_TARGET == HWY_SCALAR
  const int code = codes[v % 16] >> (v >= 16 ? 4 : 0) & 15;
  return hn::Mul(hn::Set(d, static_cast<float>(table[code])), begun);
#else
  const hn::RebindToSigned<D> di32;
  const hn::Rebind<int8_t, D> di8;
  const hn::Rebind<uint8_t, D> du8;
  const hn::Full128<int8_t> di8x16;
  const hn::Repartition<uint16_t, decltype(du8)> du16;
  auto bytes = hn::LoadU(du8, codes + v * kLanes % 16);
  if (v * kLanes >= 16) {
    bytes = hn::BitCast(du8, hn::ShiftRight<4>(hn::BitCast(du16, bytes)));
  }
  const auto picks = hn::BitCast(di8, hn::And(bytes, hn::Set(du8, 15)));
  const auto numbers = hn::TableLookupBytes(hn::LoadU(di8x16, table), picks);
  return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(di32, numbers)), begun);
#endif
}

}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
