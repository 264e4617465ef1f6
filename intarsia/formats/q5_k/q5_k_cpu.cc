#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q5_k/q5_k_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/six_bit_scales.h"
#include "intarsia/formats/common/superblocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

// Bytes: d, dmin, 12 of scales and minima, 32 of fifth bits, 128 of codes.
struct Block {
  static constexpr size_t kBytes = 2 + 2 + 12 + 32 + 128;
  static constexpr int kParts = 8;
  struct State {
    float scale[16], minimum[16];  // the first and the last eight count
  };
  static HWY_INLINE void Begin(D d, const uint8_t* block, State* s) {
    uint8_t codes[16];
    UnpackSixBitScales(block + 4, codes);
    ScaleSixteen(d, codes, Scale(d, block), s->scale);
    ScaleSixteen(d, codes, hn::Neg(Scale(d, block + 2)), s->minimum);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, const State& s, int part,
                          int v) {
    const VI low = WideBytes(block + 48 + part / 2 * 32 + v * kLanes);
    const VI high = WideBytes(block + 16 + v * kLanes);
    const VI codes =
        hn::Or(Masked(hn::ShiftRightSame(low, part % 2 * 4), 15),
               Masked(hn::ShiftLeft<4>(hn::ShiftRightSame(high, part)), 16));
    return hn::MulAdd(hn::ConvertTo(d, codes), hn::Set(d, s.scale[part]),
                      hn::Set(d, s.minimum[8 + part]));
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q5_k
#define INTARSIA_DOT DotParts<Block>
#define INTARSIA_DEQUANTIZE DequantizeParts<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
