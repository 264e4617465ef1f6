#include "intarsia/formats/f16/f16_cpu.h"

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

void DotOfF16(const DotArgs& args) { Dot<Block>(args); }
void DequantizeRowOfF16(const std::byte* in, float* out, int64_t k) {
  Dequantize<Block>(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfF16);
HWY_EXPORT(DequantizeRowOfF16);

void DotF16(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfF16)(args); }
void DequantizeF16(const std::byte* in, float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfF16)(in, out, k);
}

}  // namespace intarsia::formats
#endif
