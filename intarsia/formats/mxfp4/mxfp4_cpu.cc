#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/mxfp4/mxfp4_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/table_codes-inl.h"
#include "intarsia/formats/mxfp4/e8m0.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 1 + 16;
  static HWY_INLINE V Begin(D d, const uint8_t* block) {
    return BeginTable(d, kMxfp4Values, hn::Set(d, HalfOfE8M0(block[0])));
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, V begun, int v) {
    return TableNumbers(d, block + 1, kMxfp4Values, begun, v);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT mxfp4
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
