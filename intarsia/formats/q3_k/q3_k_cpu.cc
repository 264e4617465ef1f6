#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q3_k/q3_k_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/superblocks-inl.h"
#include "intarsia/formats/q3_k/q3_k_scales.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

// Bytes: 32 of third bits, 64 of codes, 12 of scales, d.
struct Block {
  static constexpr size_t kBytes = 32 + 64 + 12 + 2;
  static constexpr int kParts = 8;
  struct State {
    float scale[16];  // of 16 numbers each
  };
  static HWY_INLINE void Begin(D d, const uint8_t* block, State* s) {
    int8_t scales[16];
    UnpackQ3KScales(block + 96, scales);
    ScaleSixteen(d, scales, Scale(d, block + 108), s->scale);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, const State& s, int part,
                          int v) {
    const VI low = WideBytes(block + 32 + part / 4 * 32 + v * kLanes);
    const VI high = WideBytes(block + v * kLanes);
    // The third bit takes away the four that its absence costs.
    const VI codes = hn::Sub(
        hn::Or(Masked(hn::ShiftRightSame(low, part % 4 * 2), 3),
               Masked(hn::ShiftLeft<2>(hn::ShiftRightSame(high, part)), 4)),
        hn::Set(DI(), 4));
    return hn::Mul(hn::ConvertTo(d, codes),
                   hn::Set(d, s.scale[2 * part + v * kLanes / 16]));
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q3_k
#define INTARSIA_DOT DotParts<Block>
#define INTARSIA_DEQUANTIZE DequantizeParts<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
