#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q5_0/q5_0_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/five_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 2 + 4 + 16;
  static HWY_INLINE V Begin(D d, const uint8_t* block) {
    return Scale(d, block);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, V scale, int v) {
    const auto codes = FiveBits(block + 6, block + 2, v);
    const auto centred = hn::Sub(codes, hn::Set(DI(), 16));
    return hn::Mul(hn::ConvertTo(d, centred), scale);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q5_0
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
