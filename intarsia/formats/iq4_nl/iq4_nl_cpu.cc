#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/iq4_nl/iq4_nl_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/table_codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 2 + 16;
  static HWY_INLINE V Begin(D d, const uint8_t* block) {
    return BeginTable(d, kIq4Values, Scale(d, block));
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, V begun, int v) {
    return TableNumbers(d, block + 2, kIq4Values, begun, v);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT iq4_nl
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
