#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q2_k/q2_k_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/superblocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

// Bytes: 16 of scales (low half) and minima (high half), 64 of codes, d, dmin.
struct Block {
  static constexpr size_t kBytes = 16 + 64 + 2 + 2;
  static constexpr int kParts = 8;
  struct State {
    float scale[16], minimum[16];  // of 16 numbers each; minima negated
  };
  static HWY_INLINE void Begin(D d, const uint8_t* block, State* s) {
    const hn::Rebind<uint8_t, D> du8;
    const V scale = Scale(d, block + 80), minimum = Scale(d, block + 82);
    for (int i = 0; i < 16; i += kLanes) {
      const VI both = hn::PromoteTo(DI(), hn::LoadU(du8, block + i));
      hn::StoreU(hn::Mul(hn::ConvertTo(d, Masked(both, 15)), scale), d,
                 s->scale + i);
      hn::StoreU(
          hn::Neg(hn::Mul(hn::ConvertTo(d, hn::ShiftRight<4>(both)), minimum)),
          d, s->minimum + i);
    }
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, const State& s, int part,
                          int v) {
    const VI raw = WideBytes(block + 16 + part / 4 * 32 + v * kLanes);
    const VI codes = Masked(hn::ShiftRightSame(raw, part % 4 * 2), 3);
    const int group = 2 * part + v * kLanes / 16;
    return hn::MulAdd(hn::ConvertTo(d, codes), hn::Set(d, s.scale[group]),
                      hn::Set(d, s.minimum[group]));
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q2_k
#define INTARSIA_DOT DotParts<Block>
#define INTARSIA_DEQUANTIZE DequantizeParts<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
