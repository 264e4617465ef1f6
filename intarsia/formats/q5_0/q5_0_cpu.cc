#include "intarsia/formats/q5_0/q5_0_cpu.h"

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

void DotOfQ50(const DotArgs& args) { Dot<Block>(args); }
void DequantizeRowOfQ50(const std::byte* in, float* out, int64_t k) {
  Dequantize<Block>(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfQ50);
HWY_EXPORT(DequantizeRowOfQ50);

void DotQ50(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfQ50)(args); }
void DequantizeQ50(const std::byte* in, float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfQ50)(in, out, k);
}

}  // namespace intarsia::formats
#endif
