// Gradients of the weighted mean. States are kept over e^p, gradients of states
// times e^p, so that nothing overflows.
#include <algorithm>
#include <cmath>

#include "intarsia/mixers/rwkv4/rwkv4.h"

namespace intarsia::rwkv4_internal {
namespace {

// A channel's state before a token, over e^p.
struct Before {
  float a = 0.0f, b = 0.0f, p = -1e38f;
};

}  // namespace

// With q = max(p, u + k), y = N / D, N = e^{p−q} a + e^{u+k−q} v and D alike:
//   dN = dy / D    dD = −dy y / D
//   dk, du += e^{u+k−q} (dN v + dD)    dv += e^{u+k−q} dN
//   dA += e^{p−q} dN                   of a e^p, as a gradient times e^p
// and through the next state, p' = max(p + w, k):
//   dA = e^{p+w−p'} dA'    dk += e^{k−p'} (dA' v + dB')    dv += e^{k−p'} dA'
//   dw += e^{p+w−p'} (dA' a + dB' b)
WkvGradients WkvBackward(Context& ctx, const Tensor& k, const Tensor& v,
                         const Weight& decay, const Weight& bonus,
                         const Tensor& given) {
  const Batch& batch = *ctx.batch;
  const int64_t width = k.dim(1);
  const Tensor dy = given.Contiguous();
  WkvGradients out = {Tensor::Empty(k.shape()), Tensor::Empty(k.shape()),
                      Tensor::Empty(k.shape()), Tensor::Empty(k.shape())};
  float *dk = out.k.mutable_data<float>(), *dv = out.v.mutable_data<float>();
  float *dw = out.w.mutable_data<float>(), *du = out.u.mutable_data<float>();
  ctx.pool->Run(batch.segments() * width, [&](int64_t task) {
    const int64_t n = task / width, c = task % width;
    const int64_t begin = batch.begin(n), end = batch.begin(n + 1);
    const float w = -std::exp(decay.f32()[c]), u = bonus.f32()[c];
    std::vector<Before> before(end - begin + 1);
    for (int64_t t = begin; t < end; ++t) {
      const Before& s = before[t - begin];
      const float key = k.data<float>()[t * width + c];
      const float top = std::max(s.p + w, key);
      const float old = std::exp(s.p + w - top), own = std::exp(key - top);
      before[t - begin + 1] = {
          .a = old * s.a + own * v.data<float>()[t * width + c],
          .b = old * s.b + own,
          .p = top};
    }
    float da = 0.0f, db = 0.0f;  // of the state behind the token
    for (int64_t t = end - 1; t >= begin; --t) {
      const int64_t at = t * width + c;
      const Before &s = before[t - begin], &next = before[t - begin + 1];
      const float key = k.data<float>()[at], value = v.data<float>()[at];
      float old = std::exp(s.p + w - next.p), own = std::exp(key - next.p);
      dk[at] = own * (da * value + db);
      dv[at] = own * da;
      dw[at] = old * (da * s.a + db * s.b);
      da *= old;
      db *= old;
      const float q = std::max(s.p, u + key);
      old = std::exp(s.p - q);
      own = std::exp(u + key - q);
      const float below = old * s.b + own;
      const float dn = dy.data<float>()[at] / below;
      const float dd = -dn * (old * s.a + own * value) / below;
      du[at] = own * (dn * value + dd);
      dk[at] += du[at];
      dv[at] += own * dn;
      da += old * dn;
      db += old * dd;
    }
  });
  return out;
}

}  // namespace intarsia::rwkv4_internal
