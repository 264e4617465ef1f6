#include "intarsia/ops/norm/norm_cpu.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/ops/norm/norm_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Functions of vectors for Sum and Map; members are the row's constants.
struct Itself {
  template <class D, class V>
  HWY_INLINE V operator()(D, const V* in) const {
    return in[0];
  }
};
struct Square {
  template <class D, class V>
  HWY_INLINE V operator()(D, const V* in) const {
    return hn::Mul(in[0], in[0]);
  }
};
struct Product2 {
  template <class D, class V>
  HWY_INLINE V operator()(D, const V* in) const {
    return hn::Mul(in[0], in[1]);
  }
};
struct Product3 {
  template <class D, class V>
  HWY_INLINE V operator()(D, const V* in) const {
    return hn::Mul(hn::Mul(in[0], in[1]), in[2]);
  }
};

struct RmsOut {  // x, scale → y
  float factor;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = hn::Mul(hn::Mul(in[0], hn::Set(d, factor)), in[1]);
  }
};

struct RmsGradient {  // x, scale, g → dx = factor (g scale − x slope)
  float factor, slope;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    const V gs = hn::Mul(in[2], in[1]);
    out[0] = hn::Mul(hn::Set(d, factor),
                     hn::NegMulAdd(in[0], hn::Set(d, slope), gs));
  }
};

struct Center {  // x → x − mean
  float mean;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = hn::Sub(in[0], hn::Set(d, mean));
  }
};

struct LayerOut {  // centred x, scale, bias → y
  float factor;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = hn::MulAdd(hn::Mul(in[0], hn::Set(d, factor)), in[1], in[2]);
  }
};

struct CenteredProduct {  // x, scale, g → (x − mean) scale g; zero in the tail
  float mean;
  template <class D, class V>
  HWY_INLINE V operator()(D d, const V* in) const {
    return hn::Mul(hn::Sub(in[0], hn::Set(d, mean)), hn::Mul(in[1], in[2]));
  }
};

struct LayerGradient {  // x, scale, g → dx
  float mean, factor, average, slope;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    const V x = hn::Sub(in[0], hn::Set(d, mean));
    const V gs = hn::Sub(hn::Mul(in[2], in[1]), hn::Set(d, average));
    out[0] =
        hn::Mul(hn::Set(d, factor), hn::NegMulAdd(x, hn::Set(d, slope), gs));
  }
};

float Factor(float sum, int64_t n, float eps) {
  return static_cast<float>(
      1.0 / std::sqrt(double{sum} / static_cast<double>(n) + double{eps}));
}

float RmsRowImpl(int64_t n, const float* x, const float* scale, float eps,
                 float* y) {
  const float* in[] = {x, scale};
  const float factor = Factor(Sum<1>(n, in, Square()), n, eps);
  Map<2, 1>(n, in, &y, RmsOut{factor});
  return factor;
}

void RmsRowBackwardImpl(int64_t n, const float* x, const float* scale,
                        const float* g, float factor, float* dx) {
  const float* in[] = {x, scale, g};
  const float sum = Sum<3>(n, in, Product3());
  const float slope = factor * factor * sum / static_cast<float>(n);
  Map<3, 1>(n, in, &dx, RmsGradient{factor, slope});
}

norm::Moments LayerRowImpl(int64_t n, const float* x, const float* scale,
                           const float* bias, float eps, float* y) {
  const float mean = Sum<1>(n, &x, Itself()) / static_cast<float>(n);
  Map<1, 1>(n, &x, &y, Center{mean});
  const float* in[] = {y, scale, bias};
  const float factor = Factor(Sum<1>(n, in, Square()), n, eps);
  Map<3, 1>(n, in, &y, LayerOut{factor});
  return {mean, factor};
}

void LayerRowBackwardImpl(int64_t n, const float* x, const float* scale,
                          const float* g, const norm::Moments& moments,
                          float* dx) {
  const float* in[] = {x, scale, g};
  const float count = static_cast<float>(n), factor = moments.factor;
  const float average = Sum<2>(n, in + 1, Product2()) / count;
  const float dot = Sum<3>(n, in, CenteredProduct{moments.mean});
  const float slope = factor * factor * dot / count;
  Map<3, 1>(n, in, &dx, LayerGradient{moments.mean, factor, average, slope});
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(RmsRowImpl);
HWY_EXPORT(RmsRowBackwardImpl);
HWY_EXPORT(LayerRowImpl);
HWY_EXPORT(LayerRowBackwardImpl);

namespace norm {

float RmsRow(int64_t n, const float* x, const float* scale, float eps,
             float* y) {
  return HWY_DYNAMIC_DISPATCH(RmsRowImpl)(n, x, scale, eps, y);
}
void RmsRowBackward(int64_t n, const float* x, const float* scale,
                    const float* g, float factor, float* dx) {
  HWY_DYNAMIC_DISPATCH(RmsRowBackwardImpl)(n, x, scale, g, factor, dx);
}
Moments LayerRow(int64_t n, const float* x, const float* scale,
                 const float* bias, float eps, float* y) {
  return HWY_DYNAMIC_DISPATCH(LayerRowImpl)(n, x, scale, bias, eps, y);
}
void LayerRowBackward(int64_t n, const float* x, const float* scale,
                      const float* g, const Moments& moments, float* dx) {
  HWY_DYNAMIC_DISPATCH(LayerRowBackwardImpl)(n, x, scale, g, moments, dx);
}

}  // namespace norm
}  // namespace intarsia
#endif  // HWY_ONCE
