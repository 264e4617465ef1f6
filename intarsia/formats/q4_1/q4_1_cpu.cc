#include "intarsia/formats/q4_1/q4_1_cpu.h"

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

void DotOfQ41(const DotArgs& args) { Dot<Block>(args); }
void DequantizeRowOfQ41(const std::byte* in, float* out, int64_t k) {
  Dequantize<Block>(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfQ41);
HWY_EXPORT(DequantizeRowOfQ41);

void DotQ41(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfQ41)(args); }
void DequantizeQ41(const std::byte* in, float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfQ41)(in, out, k);
}

}  // namespace intarsia::formats
#endif
