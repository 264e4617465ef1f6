#include "intarsia/formats/common/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/q8_0/q8_0_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = 2 + 32;
  static HWY_INLINE V Begin(D d, const uint8_t* block) {
    return Scale(d, block);
  }
  static HWY_INLINE V Get(D d, const uint8_t* block, V scale, int v) {
    const hn::Rebind<int8_t, D> di8;
    const hn::RebindToSigned<D> di32;
    const auto codes =
        hn::LoadU(di8, reinterpret_cast<const int8_t*>(block) + 2 + v * kLanes);
    return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(di32, codes)), scale);
  }
};

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define INTARSIA_FORMAT q8_0
#define INTARSIA_DOT Dot<Block>
#define INTARSIA_DEQUANTIZE Dequantize<Block>
#include "intarsia/formats/common/format_cpu-inl.h"
