#include "intarsia/ops/rope/rope_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/ops/rope/rope_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void AnglesImpl(int64_t pairs, float position, const float* frequencies,
                float scale, float* cosine, float* sine) {
  const hn::ScalableTag<double> d64;
  const hn::Rebind<float, decltype(d64)> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const V p = hn::Set(d, position), factor = hn::Set(d, scale);
  for (int64_t i = 0; i < pairs; i += lanes) {
    const int64_t n = pairs - i;
    V s, c;
    const V f = n >= lanes ? hn::LoadU(d, frequencies + i)
                           : LoadTail(d, frequencies + i, n);
    SinCos(d64, hn::Mul(p, f), &s, &c);
    s = hn::Mul(s, factor);
    c = hn::Mul(c, factor);
    if (n >= lanes) {
      hn::StoreU(s, d, sine + i);
      hn::StoreU(c, d, cosine + i);
    } else {
      StoreTail(d, s, sine + i, n);
      StoreTail(d, c, cosine + i, n);
    }
  }
}

struct Turn {  // a, b, cos, sin → the pair turned by ±angle
  bool inverse;
  template <class D, class V>
  HWY_INLINE void operator()(D, const V* in, V* out) const {
    const V s = inverse ? hn::Neg(in[3]) : in[3];
    out[0] = hn::Sub(hn::Mul(in[0], in[2]), hn::Mul(in[1], s));
    out[1] = hn::Add(hn::Mul(in[1], in[2]), hn::Mul(in[0], s));
  }
};

void RotateImpl(int64_t pairs, bool interleaved, bool inverse, const float* x,
                const float* cosine, const float* sine, float* y) {
  const Turn turn{inverse};
  if (!interleaved) {
    const float* in[] = {x, x + pairs, cosine, sine};
    float* out[] = {y, y + pairs};
    Map<4, 2>(pairs, in, out, turn);
    return;
  }
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V from[4], to[2];
  int64_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    hn::LoadInterleaved2(d, x + 2 * i, from[0], from[1]);
    from[2] = hn::LoadU(d, cosine + i);
    from[3] = hn::LoadU(d, sine + i);
    turn(d, from, to);
    hn::StoreInterleaved2(to[0], to[1], d, y + 2 * i);
  }
  if (i < pairs) {
    HWY_ALIGN float buffer[2 * kMostLanes] = {};
    std::memcpy(buffer, x + 2 * i, 2 * (pairs - i) * sizeof(float));
    hn::LoadInterleaved2(d, buffer, from[0], from[1]);
    from[2] = LoadTail(d, cosine + i, pairs - i);
    from[3] = LoadTail(d, sine + i, pairs - i);
    turn(d, from, to);
    hn::StoreInterleaved2(to[0], to[1], d, buffer);
    std::memcpy(y + 2 * i, buffer, 2 * (pairs - i) * sizeof(float));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(AnglesImpl);
HWY_EXPORT(RotateImpl);

namespace rope {

void Angles(int64_t pairs, float position, const float* frequencies,
            float scale, float* cosine, float* sine) {
  HWY_DYNAMIC_DISPATCH(AnglesImpl)
  (pairs, position, frequencies, scale, cosine, sine);
}
void Rotate(int64_t pairs, bool interleaved, bool inverse, const float* x,
            const float* cosine, const float* sine, float* y) {
  HWY_DYNAMIC_DISPATCH(RotateImpl)
  (pairs, interleaved, inverse, x, cosine, sine, y);
}

}  // namespace rope
}  // namespace intarsia
#endif  // HWY_ONCE
