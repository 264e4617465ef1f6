#include "intarsia/formats/mxfp4/mxfp4_cpu.h"

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

void DotOfMxfp4(const DotArgs& args) { Dot<Block>(args); }
void DequantizeRowOfMxfp4(const std::byte* in, float* out, int64_t k) {
  Dequantize<Block>(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfMxfp4);
HWY_EXPORT(DequantizeRowOfMxfp4);

void DotMxfp4(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfMxfp4)(args); }
void DequantizeMxfp4(const std::byte* in, float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfMxfp4)(in, out, k);
}

}  // namespace intarsia::formats
#endif
