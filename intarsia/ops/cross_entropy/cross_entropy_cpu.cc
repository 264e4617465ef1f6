#include "intarsia/ops/cross_entropy/cross_entropy_cpu.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/ops/cross_entropy/cross_entropy_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

struct ExpOfDifference {  // x → factor exp(x − shift)
  float shift, factor;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] =
        hn::Mul(hn::Set(d, factor), Exp(d, hn::Sub(in[0], hn::Set(d, shift))));
  }
};

struct Itself {
  template <class D, class V>
  HWY_INLINE V operator()(D, const V* in) const {
    return in[0];
  }
};

// A NaN may be missed here; its exponential is not.
float Largest(int64_t n, const float* x) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto most = hn::Set(d, x[0]);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    most = hn::Max(hn::LoadU(d, x + i), most);
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; i < n; ++i) largest = std::max(largest, x[i]);
  return largest;
}

double LogSumExpImpl(int64_t n, const float* x) {
  const float most = Largest(n, x);
  // Exponentials and sums of a stretch in fp32, of the row in double.
  constexpr int64_t kStretch = 256;
  float buffer[kStretch];
  float* out = buffer;
  const float* exponentials = buffer;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kStretch) {
    const int64_t count = std::min(kStretch, n - i);
    const float* in = x + i;
    Map<1, 1>(count, &in, &out, ExpOfDifference{most, 1.0f});
    sum += double{Sum<1>(count, &exponentials, Itself())};
  }
  return double{most} + std::log(sum);
}

void ScaledSoftmaxImpl(int64_t n, const float* x, double lse, float factor,
                       float* out) {
  // What rounding takes from the shift goes into the factor.
  const float shift = static_cast<float>(lse);
  const float rest = static_cast<float>(std::exp(double{shift} - lse));
  Map<1, 1>(n, &x, &out, ExpOfDifference{shift, factor * rest});
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(LogSumExpImpl);
HWY_EXPORT(ScaledSoftmaxImpl);

namespace cross_entropy {

double LogSumExp(int64_t n, const float* x) {
  return HWY_DYNAMIC_DISPATCH(LogSumExpImpl)(n, x);
}
void ScaledSoftmax(int64_t n, const float* x, double lse, float factor,
                   float* out) {
  HWY_DYNAMIC_DISPATCH(ScaledSoftmaxImpl)(n, x, lse, factor, out);
}

}  // namespace cross_entropy
}  // namespace intarsia
#endif  // HWY_ONCE
