#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/f16/f16_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = kBlockNumbers * 2;
  struct State {};
  static HWY_INLINE State Begin(D, const uint8_t*) { return {}; }
  static HWY_INLINE V Get(D d, const uint8_t* block, State, int v) {
    const hn::Rebind<uint16_t, D> du16;
    return FromHalf(
        d,
        hn::BitCast(du16, hn::LoadU(hn::Repartition<uint8_t, decltype(du16)>(),
                                    block + v * kLanes * 2)));
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT f16
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
