#include "intarsia/ops/common/activation_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/ops/common/activation_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Value is act(x), Slope act'(x).
struct Identity {
  template <class D, class V>
  static HWY_INLINE V Value(D, V x) {
    return x;
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V) {
    return hn::Set(d, 1.0f);
  }
};

struct Silu {
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return hn::Mul(x, Sigmoid(d, x));
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    const V one = hn::Set(d, 1.0f), s = Sigmoid(d, x);
    return hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
  }
};

struct Gelu {
  // Φ, the normal distribution's.
  template <class D, class V>
  static HWY_INLINE V Phi(D d, V x) {
    return hn::Mul(hn::Set(d, 0.5f),
                   Erfc(d, hn::Mul(x, hn::Set(d, -0.70710678f))));
  }
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return hn::Mul(x, Phi(d, x));
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    const V e = Exp(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f)));
    return hn::MulAdd(hn::Mul(x, hn::Set(d, 0.39894228f)), e, Phi(d, x));
  }
};

// ½ x (1 + tanh u) = x σ(2u).
struct GeluTanh {
  template <class D, class V>
  static HWY_INLINE V TwoU(D d, V x) {
    const V cubic =
        hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.044715f), hn::Set(d, 1.0f));
    return hn::Mul(hn::Mul(x, hn::Set(d, 1.59576912f)), cubic);
  }
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return hn::Mul(x, Sigmoid(d, TwoU(d, x)));
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    const V s = Sigmoid(d, TwoU(d, x));
    const V two_du = hn::Mul(
        hn::Set(d, 1.59576912f),
        hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.134145f), hn::Set(d, 1.0f)));
    const V bend = hn::Mul(s, hn::Sub(hn::Set(d, 1.0f), s));
    return hn::MulAdd(hn::Mul(x, bend), two_du, s);
  }
};

// x σ(1.702 x).
struct QuickGelu {
  template <class D, class V>
  static HWY_INLINE V Sigma(D d, V x) {
    return Sigmoid(d, hn::Mul(x, hn::Set(d, 1.702f)));
  }
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return hn::Mul(x, Sigma(d, x));
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    const V one = hn::Set(d, 1.0f), s = Sigma(d, x);
    const V u = hn::Mul(x, hn::Set(d, 1.702f));
    return hn::Mul(s, hn::MulAdd(u, hn::Sub(one, s), one));
  }
};

// Comparisons are written so that NaN comes through.
struct Relu {
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0f));
  }
};

struct Relu2 {
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    const V r = Relu::Value(d, x);
    return hn::Mul(r, r);
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    return hn::Mul(hn::Set(d, 2.0f), Relu::Value(d, x));
  }
};

struct SigmoidFn {
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return Sigmoid(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    const V s = Sigmoid(d, x);
    return hn::Mul(s, hn::Sub(hn::Set(d, 1.0f), s));
  }
};

struct SoftplusFn {
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return Softplus(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    return Sigmoid(d, x);
  }
};

struct TanhFn {
  template <class D, class V>
  static HWY_INLINE V Value(D d, V x) {
    return Tanh(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V Slope(D d, V x) {
    const V t = Tanh(d, x);
    return hn::NegMulAdd(t, t, hn::Set(d, 1.0f));
  }
};

template <class A>
struct ForwardFn {
  static constexpr int kIn = 1, kOut = 1;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = A::Value(d, in[0]);
  }
};

template <class A>
struct BackwardFn {
  static constexpr int kIn = 2, kOut = 1;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = hn::Mul(in[1], A::Slope(d, in[0]));
  }
};

template <class A>
struct GatedFn {
  static constexpr int kIn = 2, kOut = 1;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = hn::Mul(A::Value(d, in[0]), in[1]);
  }
};

template <class A>
struct GatedBackwardFn {
  static constexpr int kIn = 3, kOut = 2;
  template <class D, class V>
  HWY_INLINE void operator()(D d, const V* in, V* out) const {
    out[0] = hn::Mul(hn::Mul(in[2], in[1]), A::Slope(d, in[0]));
    out[1] = hn::Mul(in[2], A::Value(d, in[0]));
  }
};

template <class Fn>
HWY_NOINLINE void Run(int64_t n, const float* const* in, float* const* out) {
  Map<Fn::kIn, Fn::kOut>(n, in, out, Fn());
}

template <template <class> class Fn>
void Choose(Activation kind, int64_t n, const float* const* in,
            float* const* out) {
  switch (kind) {
    case Activation::kNone:
      return Run<Fn<Identity>>(n, in, out);
    case Activation::kSilu:
      return Run<Fn<Silu>>(n, in, out);
    case Activation::kGelu:
      return Run<Fn<Gelu>>(n, in, out);
    case Activation::kGeluTanh:
      return Run<Fn<GeluTanh>>(n, in, out);
    case Activation::kQuickGelu:
      return Run<Fn<QuickGelu>>(n, in, out);
    case Activation::kRelu:
      return Run<Fn<Relu>>(n, in, out);
    case Activation::kRelu2:
      return Run<Fn<Relu2>>(n, in, out);
    case Activation::kSigmoid:
      return Run<Fn<SigmoidFn>>(n, in, out);
    case Activation::kSoftplus:
      return Run<Fn<SoftplusFn>>(n, in, out);
    case Activation::kTanh:
      return Run<Fn<TanhFn>>(n, in, out);
  }
}

void ForwardImpl(Activation kind, int64_t n, const float* const* in,
                 float* const* out) {
  Choose<ForwardFn>(kind, n, in, out);
}
void BackwardImpl(Activation kind, int64_t n, const float* const* in,
                  float* const* out) {
  Choose<BackwardFn>(kind, n, in, out);
}
void GatedImpl(Activation kind, int64_t n, const float* const* in,
               float* const* out) {
  Choose<GatedFn>(kind, n, in, out);
}
void GatedBackwardImpl(Activation kind, int64_t n, const float* const* in,
                       float* const* out) {
  Choose<GatedBackwardFn>(kind, n, in, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(ForwardImpl);
HWY_EXPORT(BackwardImpl);
HWY_EXPORT(GatedImpl);
HWY_EXPORT(GatedBackwardImpl);

namespace elementwise {

void Forward(Activation kind, int64_t n, const float* const* in,
             float* const* out) {
  HWY_DYNAMIC_DISPATCH(ForwardImpl)(kind, n, in, out);
}
void Backward(Activation kind, int64_t n, const float* const* in,
              float* const* out) {
  HWY_DYNAMIC_DISPATCH(BackwardImpl)(kind, n, in, out);
}
void Gated(Activation kind, int64_t n, const float* const* in,
           float* const* out) {
  HWY_DYNAMIC_DISPATCH(GatedImpl)(kind, n, in, out);
}
void GatedBackward(Activation kind, int64_t n, const float* const* in,
                   float* const* out) {
  HWY_DYNAMIC_DISPATCH(GatedBackwardImpl)(kind, n, in, out);
}

}  // namespace elementwise
}  // namespace intarsia
#endif  // HWY_ONCE
