#include "intarsia/formats/q8_0/q8_0_cpu.h"

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

void DotOfQ80(const DotArgs& args) { Dot<Block>(args); }
void DequantizeRowOfQ80(const std::byte* in, float* out, int64_t k) {
  Dequantize<Block>(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfQ80);
HWY_EXPORT(DequantizeRowOfQ80);

void DotQ80(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfQ80)(args); }
void DequantizeQ80(const std::byte* in, float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfQ80)(in, out, k);
}

}  // namespace intarsia::formats
#endif
