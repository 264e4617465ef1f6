#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/iq4_xs/iq4_xs_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/superblocks-inl.h"
#include "intarsia/formats/common/table_codes-inl.h"
#include "intarsia/formats/iq4_xs/iq4_xs_scales.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

// Bytes: d, 2 of high and 4 of low bits of scales, 128 of codes.
struct Block {
  static constexpr size_t kBytes = 2 + 2 + 4 + 128;
  static constexpr int kParts = 8;
  struct State {
    float scale[16];  // the first eight count
  };
  static HWY_INLINE void Begin(D d, const uint8_t* block, State* s) {
    int8_t scales[16] = {};
    UnpackIq4XsScales(block + 2, scales);
    ScaleSixteen(d, scales, Scale(d, block), s->scale);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, const State& s, int part,
                          int v) {
    const V begun = BeginTable(d, kIq4Values, hn::Set(d, s.scale[part]));
    return TableNumbers(d, block + 8 + part * 16, kIq4Values, begun, v);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT iq4_xs
#define INTARSIA_DOT DotParts<Block>
#define INTARSIA_DEQUANTIZE DequantizeParts<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
