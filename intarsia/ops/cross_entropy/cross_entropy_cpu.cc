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

double LogSumExpImpl(int64_t n, const float* x) {
  float most = x[0];
  for (int64_t i = 1; i < n; ++i) most = x[i] > most ? x[i] : most;
  // Exponentials in fp32 and stretches, their sum in double.
  constexpr int64_t kStretch = 256;
  float buffer[kStretch];
  float* out = buffer;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kStretch) {
    const int64_t count = std::min(kStretch, n - i);
    const float* in = x + i;
    Map<1, 1>(count, &in, &out, ExpOfDifference{most, 1.0f});
    double lanes[4] = {};
    for (int64_t j = 0; j < count; ++j) lanes[j & 3] += double{buffer[j]};
    sum += (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
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
