#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/f8_e4m3_128/f8_e4m3_128_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/superblocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

// Bytes: the scale as fp32, 128 of E4M3.
struct Block {
  static constexpr size_t kBytes = 4 + 128;
  static constexpr int kParts = 4;
  struct State {
    float scale;
  };
  static HWY_INLINE void Begin(D, const uint8_t* block, State* s) {
    std::memcpy(&s->scale, block, sizeof(s->scale));
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, const State& s, int part,
                          int v) {
    const VI code = WideBytes(block + 4 + part * 32 + v * kLanes);
    const VI magnitude = Masked(code, 0x7F);
    // Exponent and mantissa where fp32 has them; the bias grows by 120 through
    // a product, right for subnormals. 0x7F is NaN.
    const V grown = hn::Mul(hn::BitCast(d, hn::ShiftLeft<20>(magnitude)),
                            hn::Set(d, 0x1p120f));
    const auto nan = hn::Eq(magnitude, hn::Set(DI(), 0x7F));
    const VI bits =
        hn::Or(hn::BitCast(DI(), grown),
               hn::Or(hn::ShiftLeft<24>(hn::AndNot(hn::Set(DI(), 0x7F), code)),
                      hn::IfThenElseZero(nan, hn::Set(DI(), 0x7FC00000))));
    return hn::Mul(hn::BitCast(d, bits), hn::Set(d, s.scale));
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT f8_e4m3_128
#define INTARSIA_DOT DotParts<Block>
#define INTARSIA_DEQUANTIZE DequantizeParts<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
