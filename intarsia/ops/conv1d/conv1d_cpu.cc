#include "intarsia/ops/conv1d/conv1d_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/ops/conv1d/conv1d_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void RowImpl(int64_t n, int64_t width, const float* const* inputs,
             const float* taps, int64_t taps_stride, const float* bias,
             float* y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto sum = hn::LoadU(d, bias + i);
    for (int64_t k = 0; k < width; ++k) {
      sum = hn::MulAdd(hn::LoadU(d, taps + k * taps_stride + i),
                       hn::LoadU(d, inputs[k] + i), sum);
    }
    hn::StoreU(sum, d, y + i);
  }
  if (i < n) {
    auto sum = LoadTail(d, bias + i, n - i);
    for (int64_t k = 0; k < width; ++k) {
      sum = hn::MulAdd(LoadTail(d, taps + k * taps_stride + i, n - i),
                       LoadTail(d, inputs[k] + i, n - i), sum);
    }
    StoreTail(d, sum, y + i, n - i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(RowImpl);

void conv1d::Row(int64_t n, int64_t width, const float* const* inputs,
                 const float* taps, int64_t taps_stride, const float* bias,
                 float* y) {
  HWY_DYNAMIC_DISPATCH(RowImpl)
  (n, width, inputs, taps, taps_stride, bias, y);
}

}  // namespace intarsia
#endif  // HWY_ONCE
