// Loops over contiguous floats whose lanes are all computed alike, the tail
// too: a value never depends on where in the array it stands. For *_cpu.cc
// files, like vector_math-inl.h.
#if defined(INTARSIA_OPS_VECTOR_LOOPS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_OPS_VECTOR_LOOPS_INL
#undef INTARSIA_OPS_VECTOR_LOOPS_INL
#else
#define INTARSIA_OPS_VECTOR_LOOPS_INL
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMostLanes = HWY_MAX_BYTES / sizeof(float);

// The first n < Lanes(d) values, the rest zero.
template <class D>
HWY_INLINE hn::Vec<D> LoadTail(D d, const float* x, int64_t n) {
  HWY_ALIGN float buffer[kMostLanes] = {};
  std::memcpy(buffer, x, n * sizeof(float));
  return hn::Load(d, buffer);
}

template <class D>
HWY_INLINE void StoreTail(D d, hn::Vec<D> v, float* y, int64_t n) {
  HWY_ALIGN float buffer[kMostLanes];
  hn::Store(v, d, buffer);
  std::memcpy(y, buffer, n * sizeof(float));
}

// out[j][i] = fn(d, in[·][i], ...): fn(d, const V* in, V* out).
template <int kIn, int kOut, class Fn>
HWY_INLINE void Map(int64_t n, const float* const* in, float* const* out,
                    const Fn& fn) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V from[kIn], to[kOut];
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int j = 0; j < kIn; ++j) from[j] = hn::LoadU(d, in[j] + i);
    fn(d, from, to);
    for (int j = 0; j < kOut; ++j) hn::StoreU(to[j], d, out[j] + i);
  }
  if (i < n) {
    for (int j = 0; j < kIn; ++j) from[j] = LoadTail(d, in[j] + i, n - i);
    fn(d, from, to);
    for (int j = 0; j < kOut; ++j) StoreTail(d, to[j], out[j] + i, n - i);
  }
}

// Σ_i fn(d, in[·][i]), in four chains and an order that n alone fixes. fn of
// zeros must be zero.
template <int kIn, class Fn>
HWY_INLINE float Sum(int64_t n, const float* const* in, const Fn& fn) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V from[kIn];
  V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    for (int c = 0; c < 4; ++c) {
      for (int j = 0; j < kIn; ++j) {
        from[j] = hn::LoadU(d, in[j] + i + c * lanes);
      }
      sums[c] = hn::Add(sums[c], fn(d, from));
    }
  }
  for (; i < n; i += lanes) {
    for (int j = 0; j < kIn; ++j) {
      from[j] = i + lanes <= n ? hn::LoadU(d, in[j] + i)
                               : LoadTail(d, in[j] + i, n - i);
    }
    sums[0] = hn::Add(sums[0], fn(d, from));
  }
  const V sum = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#endif  // once per target
