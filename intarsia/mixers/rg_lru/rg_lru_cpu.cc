// The recurrence by vectors of channels.
#include <algorithm>
#include <vector>

#include "intarsia/mixers/rg_lru/rg_lru_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/rg_lru/rg_lru_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// `count` channels from `first` on; the other lanes are zero.
struct Lanes {
  int64_t first, count;
  bool whole() const { return count == static_cast<int64_t>(hn::Lanes(D())); }
  V Load(const float* row) const {
    return whole() ? hn::LoadU(D(), row + first)
                   : LoadTail(D(), row + first, count);
  }
  void Store(V v, float* row) const {
    if (whole()) {
      hn::StoreU(v, D(), row + first);
    } else {
      StoreTail(D(), v, row + first, count);
    }
  }
};

// 1 − exp(x) for x ≤ 0, without the cancellation near zero.
V OneMinusExp(V x) {
  const D d;
  V p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, x, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, x, hn::Set(d, 1.0f));
  const V near = hn::Neg(hn::Mul(p, x));
  const V far = hn::Sub(hn::Set(d, 1.0f), Exp(d, x));
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, -0.4f)), near, far);
}

// A token's gates and decay.
struct Token {
  V x, r, g;  // the input and both gates, after their sigmoids
  V fade, a;  // log a and a
  V keep;     // what the gated input is multiplied by
  Token(const rg_lru::Args& args, const Lanes& lanes, V rate, int64_t t,
        bool first) {
    const D d;
    const int64_t row = t * args.channels;
    x = lanes.Load(args.x + row);
    r = Sigmoid(d, hn::Add(lanes.Load(args.r + row), lanes.Load(args.r_bias)));
    g = Sigmoid(d, hn::Add(lanes.Load(args.g + row), lanes.Load(args.g_bias)));
    fade = hn::Mul(r, rate);
    a = Exp(d, fade);
    keep =
        first ? hn::Set(d, 1.0f) : hn::Sqrt(OneMinusExp(hn::Add(fade, fade)));
  }
};

// −8 softplus(param).
V Rate(const rg_lru::Args& args, const Lanes& lanes) {
  const D d;
  return hn::Mul(hn::Set(d, -8.0f), Softplus(d, lanes.Load(args.param)));
}

template <class Body>
void EachVector(int64_t c0, int64_t c1, const Body& body) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t c = c0; c < c1; c += lanes) {
    body(Lanes{c, std::min(lanes, c1 - c)});
  }
}

void RecurImpl(const Batch& batch, const rg_lru::Args& args, int64_t c0,
               int64_t c1, float* states, float* h) {
  const D d;
  EachVector(c0, c1, [&](const Lanes& lanes) {
    const V rate = Rate(args, lanes);
    for (int64_t n = 0; n < batch.segments(); ++n) {
      const int64_t slot = batch.slots[n];
      float* own = states != nullptr && slot >= 0
                       ? states + slot * args.channels
                       : nullptr;
      V state = own != nullptr ? lanes.Load(own) : hn::Zero(d);
      for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
        const Token k(args, lanes, rate, t, batch.positions[t] == 0);
        state = hn::MulAdd(k.a, state, hn::Mul(k.keep, hn::Mul(k.g, k.x)));
        lanes.Store(state, h + t * args.channels);
      }
      if (own != nullptr) lanes.Store(state, own);
    }
  });
}

// With u = keep ι x and δ the gradient of h, later ones included:
//   dx = δ keep ι    dι = δ keep x    d keep = δ ι x
//   d log a = δ a h[t−1] − d keep a² / keep (but at position 0)
//   dρ = −8 softplus(param) d log a    d param = −8 ρ σ(param) d log a
void RecurBackwardImpl(const Batch& batch, const rg_lru::Args& args, int64_t c0,
                       int64_t c1, const rg_lru::Gradients& grad) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  const int64_t width = args.channels;
  EachVector(c0, c1, [&](const Lanes& lanes) {
    const V rate = Rate(args, lanes);
    const V slope =
        hn::Mul(hn::Set(d, -8.0f), Sigmoid(d, lanes.Load(args.param)));
    std::vector<double> sums(3 * kMostLanes, 0.0);  // param, r_bias, g_bias
    for (int64_t n = 0; n < batch.segments(); ++n) {
      V carry = hn::Zero(d);
      for (int64_t t = batch.begin(n + 1) - 1; t >= batch.begin(n); --t) {
        const bool first = batch.positions[t] == 0;
        const Token k(args, lanes, rate, t, first);
        const V delta = hn::Add(lanes.Load(grad.dh + t * width), carry);
        const V before = t > batch.begin(n)
                             ? lanes.Load(grad.h + (t - 1) * width)
                             : hn::Zero(d);
        const V kept = hn::Mul(delta, k.keep);
        lanes.Store(hn::Mul(kept, k.g), grad.x + t * width);
        V d_fade = hn::Mul(hn::Mul(delta, k.a), before);
        if (!first) {
          const V d_keep = hn::Mul(delta, hn::Mul(k.g, k.x));
          // Where a is 1 nothing comes in, and its slope is infinite.
          const V per =
              hn::IfThenElse(hn::Gt(k.keep, hn::Set(d, 1e-20f)),
                             hn::Div(hn::Mul(k.a, k.a), k.keep), hn::Zero(d));
          d_fade = hn::NegMulAdd(d_keep, per, d_fade);
        }
        const V d_r =
            hn::Mul(hn::Mul(d_fade, rate), hn::Mul(k.r, hn::Sub(one, k.r)));
        const V d_g =
            hn::Mul(hn::Mul(kept, k.x), hn::Mul(k.g, hn::Sub(one, k.g)));
        lanes.Store(d_r, grad.r + t * width);
        lanes.Store(d_g, grad.g + t * width);
        carry = hn::Mul(delta, k.a);
        HWY_ALIGN float parts[3 * kMostLanes];
        hn::Store(hn::Mul(hn::Mul(d_fade, k.r), slope), d, parts);
        hn::Store(d_r, d, parts + kMostLanes);
        hn::Store(d_g, d, parts + 2 * kMostLanes);
        for (int j = 0; j < 3; ++j) {
          for (int64_t i = 0; i < lanes.count; ++i) {
            sums[j * kMostLanes + i] += parts[j * kMostLanes + i];
          }
        }
      }
    }
    float* const to[] = {grad.param, grad.r_bias, grad.g_bias};
    for (int j = 0; j < 3; ++j) {
      for (int64_t i = 0; i < lanes.count; ++i) {
        to[j][lanes.first + i] = static_cast<float>(sums[j * kMostLanes + i]);
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::rg_lru {

HWY_EXPORT(RecurImpl);
HWY_EXPORT(RecurBackwardImpl);

void Recur(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
           float* states, float* h) {
  HWY_DYNAMIC_DISPATCH(RecurImpl)(batch, args, c0, c1, states, h);
}
void RecurBackward(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
                   const Gradients& gradients) {
  HWY_DYNAMIC_DISPATCH(RecurBackwardImpl)(batch, args, c0, c1, gradients);
}

}  // namespace intarsia::rg_lru
#endif  // HWY_ONCE
