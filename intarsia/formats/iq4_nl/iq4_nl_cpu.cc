#include "intarsia/formats/iq4_nl/iq4_nl_cpu.h"

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

void DotOfIq4Nl(const DotArgs& args) { Dot<Block>(args); }
void DequantizeRowOfIq4Nl(const std::byte* in, float* out, int64_t k) {
  Dequantize<Block>(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfIq4Nl);
HWY_EXPORT(DequantizeRowOfIq4Nl);

void DotIq4Nl(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfIq4Nl)(args); }
void DequantizeIq4Nl(const std::byte* in, float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfIq4Nl)(in, out, k);
}

}  // namespace intarsia::formats
#endif
