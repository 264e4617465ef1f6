#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q5_1/q5_1_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/five_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 4 + 4 + 16;
  struct State {
    V scale, minimum;
  };
  static HWY_INLINE State Begin(D d, const uint8_t* block) {
    return {Scale(d, block), Scale(d, block + 2)};
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, State s, int v) {
    const auto codes = FiveBits(block + 8, block + 4, v);
    return hn::MulAdd(hn::ConvertTo(d, codes), s.scale, s.minimum);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q5_1
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
