#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q4_0/q4_0_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/nibbles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 2 + 16;
  // The numbers (q - 8)·d as a table of 16 where a vector holds one, else d.
  static HWY_INLINE V Begin(D d, const uint8_t* block) {
    const V scale = Scale(d, block);
    if constexpr (kLanes != 16) return scale;
    return hn::Mul(hn::Iota(d, -8.0f), scale);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, V state, int v) {
    if constexpr (kLanes == 16) return LookUpNibbles(d, block + 2, state, v);
    const V codes = hn::Sub(Nibbles(d, block + 2, v), hn::Set(d, 8.0f));
    return hn::Mul(codes, state);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q4_0
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
