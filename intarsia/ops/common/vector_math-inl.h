// Vector functions in fp32, for *_cpu.cc files. Include inside the per-target
// part, after <hwy/highway.h>. Unlike Highway's own they keep NaN, so that a
// poisoned row stays visible. The polynomials are minimax fits of ours.
//
//   Exp        relative error < 1.2e-7 (about 1 ulp); 0 below −87.3, ∞ above
//              88.7 (no subnormal results)
//   Log1pUnit  log(1 + u) for 0 ≤ u ≤ 1, relative error < 2e-7
//   Sigmoid    1 / (1 + exp(−x)), relative error < 3e-7
//   Softplus   log(1 + exp(x)), relative error < 3e-7
//   Erfc       absolute error < 2e-7
//   SinCos     both, of a float angle |x| < 1e9 reduced in double: < 1.2e-7

// Included once per target.
#if defined(INTARSIA_OPS_VECTOR_MATH_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_OPS_VECTOR_MATH_INL
#undef INTARSIA_OPS_VECTOR_MATH_INL
#else
#define INTARSIA_OPS_VECTOR_MATH_INL
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  // exp(x) = 2^q · exp(r), |r| ≤ log(2) / 2.
  const V q = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  V r = hn::NegMulAdd(q, hn::Set(d, 0.693145751953125f), x);
  r = hn::NegMulAdd(q, hn::Set(d, 1.428606765330187e-6f), r);
  V p = hn::Set(d, 1.3944660256494377e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 8.333497069743399e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1666294936895935e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665868934752e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.000000067685836e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  // 2^q in two steps, as q = 128 has no float of its own.
  const auto k = hn::ConvertTo(di, q);
  const auto half = hn::ShiftRight<1>(k);
  const auto bias = hn::Set(di, 127);
  const V a = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const V b =
      hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(k, half), bias)));
  V y = hn::Mul(hn::Mul(p, a), b);
  y = hn::IfThenElse(hn::Lt(x, hn::Set(d, -87.3365402f)), hn::Zero(d), y);
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.7228394f)), hn::Inf(d), y);
}

// 2 atanh(u / (2 + u)) as a polynomial in the square of the argument.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1pUnit(D d, V u) {
  const V s = hn::Div(u, hn::Add(u, hn::Set(d, 2.0f)));
  const V z = hn::Mul(s, s);
  V p = hn::Set(d, 2.441305995806158e-1f);
  p = hn::MulAdd(p, z, hn::Set(d, 2.139325290952391e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, 2.8620721887367867e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, 3.999869091174668e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, 6.666667930731507e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f));
  return hn::Mul(p, s);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Softplus(D d, V x) {
  const V tail = Log1pUnit(d, Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Add(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x), tail);
}

// erfc(z) = exp(−z²) g(t) / (1 + 2z), t = (z − 3.75) / (z + 3.75), for z ≥ 0
// (the variable of Shepherd and Laframboise 1981); erfc(−z) = 2 − erfc(z).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Erfc(D d, V x) {
  const V one = hn::Set(d, 1.0f), k = hn::Set(d, 3.75f);
  // Past 10.5 the exponential is zero; infinity would make t NaN.
  V z = hn::Abs(x);
  const V most = hn::Set(d, 10.5f);
  z = hn::IfThenElse(hn::Gt(z, most), most, z);
  const V t = hn::Div(hn::Sub(z, k), hn::Add(z, k));
  V p = hn::Set(d, 1.0614881531911514e-3f);
  p = hn::MulAdd(p, t, hn::Set(d, 2.206330201629233e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, -1.0016007061218012e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 2.804629223655066e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -5.869203934679233e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 9.237015445738662e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -1.0879719894660568e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, 8.227150926548937e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 3.584923255211668e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, -1.4024047821882824e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.2375126349075123f));
  const V e = Exp(d, hn::Neg(hn::Mul(z, z)));
  const V right = hn::Div(hn::Mul(e, p), hn::MulAdd(z, hn::Set(d, 2.0f), one));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)),
                        hn::Sub(hn::Set(d, 2.0f), right), right);
}

// tanh with a relative error of 3e-7: a series where the sigmoid would cancel.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V two = hn::Set(d, 2.0f);
  const V far = hn::MulSub(two, Sigmoid(d, hn::Mul(two, x)), hn::Set(d, 1.0f));
  const V z = hn::Mul(x, x);
  V p = hn::Set(d, 62.0f / 2835);
  p = hn::MulAdd(p, z, hn::Set(d, -17.0f / 315));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f / 15));
  p = hn::MulAdd(p, z, hn::Set(d, -1.0f / 3));
  const V near = hn::MulAdd(hn::Mul(p, z), x, x);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.3f)), near, far);
}

// d64: a double tag; x, sin and cos hold as many floats.
template <class D64, class D32 = hn::Rebind<float, D64>,
          class V32 = hn::Vec<D32>>
HWY_INLINE void SinCos(D64 d64, V32 x, V32* sine, V32* cosine) {
  const D32 d;
  const hn::RebindToSigned<D32> di;
  const auto wide = hn::PromoteTo(d64, x);
  const auto q = hn::Round(hn::Mul(wide, hn::Set(d64, 0.63661977236758134308)));
  // π/2 in two parts; the first has few enough bits for an exact product.
  auto r = hn::NegMulAdd(q, hn::Set(d64, 1.5707963705062866), wide);
  r = hn::NegMulAdd(q, hn::Set(d64, -4.3711390001862426e-8), r);
  const V32 y = hn::DemoteTo(d, r);
  const auto quadrant = hn::DemoteTo(di, q);
  const V32 z = hn::Mul(y, y);

  V32 s = hn::Set(d, 2.718304132057566e-6f);
  s = hn::MulAdd(s, z, hn::Set(d, -1.9839334071151233e-4f));
  s = hn::MulAdd(s, z, hn::Set(d, 8.333329383536463e-3f));
  s = hn::MulAdd(s, z, hn::Set(d, -1.6666666641606467e-1f));
  s = hn::MulAdd(hn::Mul(s, z), y, y);
  V32 c = hn::Set(d, 2.4438377563039114e-5f);
  c = hn::MulAdd(c, z, hn::Set(d, -1.3887366890953017e-3f));
  c = hn::MulAdd(c, z, hn::Set(d, 4.1666646854145416e-2f));
  c = hn::MulAdd(c, z, hn::Set(d, -0.5f));
  c = hn::MulAdd(c, z, hn::Set(d, 1.0f));

  const auto one = hn::Set(di, 1), two = hn::Set(di, 2);
  const auto odd = hn::RebindMask(d, hn::TestBit(quadrant, one));
  const auto sine_sign = hn::ShiftLeft<30>(hn::And(quadrant, two));
  const auto cosine_sign =
      hn::ShiftLeft<30>(hn::And(hn::Add(quadrant, one), two));
  *sine = hn::Xor(hn::IfThenElse(odd, c, s), hn::BitCast(d, sine_sign));
  *cosine = hn::Xor(hn::IfThenElse(odd, s, c), hn::BitCast(d, cosine_sign));
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#endif  // once per target
