#include "intarsia/ops/conv1d/conv1d_cpu.h"

#include <algorithm>
#include <vector>

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

// A vector of channels of Step; `weight` and `state` hold whole vectors.
template <class D>
HWY_INLINE hn::Vec<D> StepVector(D d, int64_t width, hn::Vec<D> x,
                                 const float* weight, hn::Vec<D> sum,
                                 float* state) {
  using V = hn::Vec<D>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (width == 4) {  // of published models
    V t0, t1, t2, t3, s0, s1, s2;
    hn::LoadInterleaved4(d, weight, t0, t1, t2, t3);
    hn::LoadInterleaved3(d, state, s0, s1, s2);
    sum = hn::MulAdd(t0, s0, sum);
    sum = hn::MulAdd(t1, s1, sum);
    sum = hn::MulAdd(t2, s2, sum);
    hn::StoreInterleaved3(s1, s2, x, d, state);
    return hn::MulAdd(t3, x, sum);
  }
  HWY_ALIGN float taps[kMostLanes], inputs[kMostLanes], newest[kMostLanes];
  hn::Store(x, d, newest);
  const int64_t before = width - 1;
  for (int64_t k = 0; k < width; ++k) {
    for (int64_t i = 0; i < lanes; ++i) {
      taps[i] = weight[i * width + k];
      inputs[i] = k < before ? state[i * before + k] : newest[i];
    }
    sum = hn::MulAdd(hn::Load(d, taps), hn::Load(d, inputs), sum);
  }
  for (int64_t i = 0; i < lanes && before > 0; ++i) {
    float* own = state + i * before;
    std::copy(own + 1, own + before, own);
    own[before - 1] = newest[i];
  }
  return sum;
}

void StepImpl(int64_t n, int64_t width, const float* x, const float* weight,
              const float* bias, float* state, float* y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t before = width - 1;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(StepVector(d, width, hn::LoadU(d, x + i), weight + i * width,
                          hn::LoadU(d, bias + i), state + i * before),
               d, y + i);
  }
  if (i == n) return;
  const int64_t left = n - i;
  std::vector<float> taps(lanes * width, 0.0f), kept(lanes * before, 0.0f);
  std::copy_n(weight + i * width, left * width, taps.data());
  std::copy_n(state + i * before, left * before, kept.data());
  StoreTail(d,
            StepVector(d, width, LoadTail(d, x + i, left), taps.data(),
                       LoadTail(d, bias + i, left), kept.data()),
            y + i, left);
  std::copy_n(kept.data(), left * before, state + i * before);
}

// The widths of published models (4 taps, 3 carried inputs) go by vectors; the
// rest, and the tail, one by one.
void ToRowsImpl(int64_t n, int64_t width, const float* in, float* out) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; (width == 3 || width == 4) && c + lanes <= n; c += lanes) {
    V v[4];
    if (width == 3) {
      hn::LoadInterleaved3(d, in + c * 3, v[0], v[1], v[2]);
    } else {
      hn::LoadInterleaved4(d, in + c * 4, v[0], v[1], v[2], v[3]);
      hn::StoreU(v[3], d, out + 3 * n + c);
    }
    for (int64_t w = 0; w < 3; ++w) hn::StoreU(v[w], d, out + w * n + c);
  }
  for (; c < n; ++c) {
    for (int64_t w = 0; w < width; ++w) out[w * n + c] = in[c * width + w];
  }
}

void ToColumnsImpl(int64_t n, int64_t width, const float* in, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; width == 3 && c + lanes <= n; c += lanes) {
    hn::StoreInterleaved3(hn::LoadU(d, in + c), hn::LoadU(d, in + n + c),
                          hn::LoadU(d, in + 2 * n + c), d, out + c * 3);
  }
  for (; c < n; ++c) {
    for (int64_t w = 0; w < width; ++w) out[c * width + w] = in[w * n + c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(RowImpl);
HWY_EXPORT(StepImpl);
HWY_EXPORT(ToRowsImpl);
HWY_EXPORT(ToColumnsImpl);

namespace conv1d {

void Row(int64_t n, int64_t width, const float* const* inputs,
         const float* taps, int64_t taps_stride, const float* bias, float* y) {
  HWY_DYNAMIC_DISPATCH(RowImpl)
  (n, width, inputs, taps, taps_stride, bias, y);
}
void Step(int64_t n, int64_t width, const float* x, const float* weight,
          const float* bias, float* state, float* y) {
  HWY_DYNAMIC_DISPATCH(StepImpl)(n, width, x, weight, bias, state, y);
}
void ToRows(int64_t n, int64_t width, const float* in, float* out) {
  HWY_DYNAMIC_DISPATCH(ToRowsImpl)(n, width, in, out);
}
void ToColumns(int64_t n, int64_t width, const float* in, float* out) {
  HWY_DYNAMIC_DISPATCH(ToColumnsImpl)(n, width, in, out);
}

}  // namespace conv1d
}  // namespace intarsia
#endif  // HWY_ONCE
