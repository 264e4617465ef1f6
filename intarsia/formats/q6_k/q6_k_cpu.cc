#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q6_k/q6_k_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/superblocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

// Bytes: 128 of low halves, 64 of high pairs, 16 scales, d.
struct Block {
  static constexpr size_t kBytes = 128 + 64 + 16 + 2;
  static constexpr int kParts = 8;
  struct State {
    float scale[16];  // of 16 numbers each
  };
  static HWY_INLINE void Begin(D d, const uint8_t* block, State* s) {
    ScaleSixteen(d, reinterpret_cast<const int8_t*>(block + 192),
                 Scale(d, block + 208), s->scale);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, const State& s, int part,
                          int v) {
    const int half = part / 4, quarter = part % 4;
    const VI low = WideBytes(block + half * 64 + quarter % 2 * 32 + v * kLanes);
    const VI high = WideBytes(block + 128 + half * 32 + v * kLanes);
    const VI codes = hn::Or(
        Masked(hn::ShiftRightSame(low, quarter / 2 * 4), 15),
        Masked(hn::ShiftLeft<4>(hn::ShiftRightSame(high, quarter * 2)), 48));
    return hn::Mul(hn::ConvertTo(d, hn::Sub(codes, hn::Set(DI(), 32))),
                   hn::Set(d, s.scale[2 * part + v * kLanes / 16]));
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q6_k
#define INTARSIA_DOT DotParts<Block>
#define INTARSIA_DEQUANTIZE DequantizeParts<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
