#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q4_1/q4_1_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/nibbles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 4 + 16;
  struct State {
    V scale, minimum;
  };
  // `scale` is the table of the 16 numbers where a vector holds one.
  static HWY_INLINE State Begin(D d, const uint8_t* block) {
    const V scale = Scale(d, block), minimum = Scale(d, block + 2);
    if constexpr (kLanes != 16) return {scale, minimum};
    return {hn::MulAdd(hn::Iota(d, 0.0f), scale, minimum), minimum};
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, State s, int v) {
    if constexpr (kLanes == 16) return LookUpNibbles(d, block + 4, s.scale, v);
    return hn::MulAdd(Nibbles(d, block + 4, v), s.scale, s.minimum);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q4_1
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
