// Loops over rows of channels, for the kernels of the delta rule core.
#if defined(INTARSIA_DELTA_RULE_LOOPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_DELTA_RULE_LOOPS_INL_H_
#undef INTARSIA_DELTA_RULE_LOOPS_INL_H_
#else
#define INTARSIA_DELTA_RULE_LOOPS_INL_H_
#endif

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "intarsia/mixers/common/delta_rule_kernels.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::delta_rule::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Chunk = GatedLinearPlan::Chunk;
using Buffer = hwy::AlignedFreeUniquePtr<float[]>;

HWY_INLINE Buffer Allocate(int64_t n) {
  return hwy::AllocateAligned<float>(std::max<int64_t>(n, 1));
}

HWY_INLINE int64_t LongestChunk(std::span<const Chunk> chunks) {
  int64_t rows = 1;
  for (const Chunk& chunk : chunks) {
    rows = std::max<int64_t>(rows, chunk.end - chunk.begin);
  }
  return rows;
}

// fn(at, mask of the lanes that count, whether all do) over [0, n).
template <typename Fn>
HWY_INLINE void ForLanes(int64_t n, const Fn& fn) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) fn(i, hn::FirstN(d, lanes), true);
  if (i < n) fn(i, hn::FirstN(d, n - i), false);
}

template <typename M>
HWY_INLINE hn::Vec<hn::ScalableTag<float>> LoadPart(const float* p, M mask,
                                                    bool whole) {
  const hn::ScalableTag<float> d;
  return whole ? hn::LoadU(d, p) : hn::MaskedLoad(mask, d, p);
}

template <typename V, typename M>
HWY_INLINE void StorePart(V value, float* p, M mask, bool whole) {
  const hn::ScalableTag<float> d;
  if (whole) {
    hn::StoreU(value, d, p);
  } else {
    hn::BlendedStore(value, mask, d, p);
  }
}

HWY_INLINE float Dot(const float* a, const float* b, int64_t n) {
  const hn::ScalableTag<float> d;
  auto sum = hn::Zero(d);
  ForLanes(n, [&](int64_t i, auto mask, bool whole) {
    sum = hn::MulAdd(LoadPart(a + i, mask, whole), LoadPart(b + i, mask, whole),
                     sum);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// y = a ⊙ b.
HWY_INLINE void Product(const float* a, const float* b, int64_t n, float* y) {
  ForLanes(n, [&](int64_t i, auto mask, bool whole) {
    StorePart(
        hn::Mul(LoadPart(a + i, mask, whole), LoadPart(b + i, mask, whole)),
        y + i, mask, whole);
  });
}

// y = factor · a.
HWY_INLINE void Scaled(float factor, const float* a, int64_t n, float* y) {
  const hn::ScalableTag<float> d;
  ForLanes(n, [&](int64_t i, auto mask, bool whole) {
    StorePart(hn::Mul(hn::Set(d, factor), LoadPart(a + i, mask, whole)), y + i,
              mask, whole);
  });
}

// y = keep · y + factor · a.
HWY_INLINE void AddScaled(float keep, float factor, const float* a, int64_t n,
                          float* y) {
  const hn::ScalableTag<float> d;
  ForLanes(n, [&](int64_t i, auto mask, bool whole) {
    StorePart(
        hn::MulAdd(hn::Set(d, factor), LoadPart(a + i, mask, whole),
                   hn::Mul(hn::Set(d, keep), LoadPart(y + i, mask, whole))),
        y + i, mask, whole);
  });
}

// A token's inputs of one head. Decays are factors, e^g, of `decays` channels:
// K, or 1 that stands for all.
struct Row {
  const float *q, *k, *v;
  const float *erase, *removal;  // or null
};

HWY_INLINE Row RowAt(const Args& args, int64_t t, int64_t h) {
  const int64_t group = h / (args.heads / args.groups);
  const int64_t key = (t * args.groups + group) * args.key_dim;
  const int64_t own = (t * args.heads + h) * args.key_dim;
  return {.q = args.q + key,
          .k = args.k + key,
          .v = args.v + (t * args.heads + h) * args.value_dim,
          .erase = args.erase ? args.erase + own : nullptr,
          .removal = args.removal ? args.removal + own : nullptr};
}

// The factors of a token by channel, [K].
HWY_INLINE void Factors(const Args& args, int64_t t, int64_t h, float* w) {
  const hn::ScalableTag<float> d;
  const float* g =
      args.decay ? args.decay + (t * args.heads + h) * args.decay_dim : nullptr;
  if (args.decay_dim == args.key_dim && g != nullptr) {
    ForLanes(args.key_dim, [&](int64_t i, auto mask, bool whole) {
      StorePart(intarsia::HWY_NAMESPACE::Exp(d, LoadPart(g + i, mask, whole)),
                w + i, mask, whole);
    });
    return;
  }
  std::fill_n(w, args.key_dim, g != nullptr ? std::exp(*g) : 1.0f);
}

}  // namespace intarsia::delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // INTARSIA_DELTA_RULE_LOOPS_INL_H_
