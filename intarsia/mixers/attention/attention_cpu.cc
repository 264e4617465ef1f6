// Online softmax over tiles of keys, forward and backward, for the CPU.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/attention/attention_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/attention/attention_tiles-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = intarsia::HWY_NAMESPACE;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What a token sees of a tile, in columns of the tile.
struct Span {
  int64_t a0, a1, b0, b1;
  bool empty() const { return a0 >= a1 && b0 >= b1; }
  bool all() const {
    return (a0 == 0 && a1 == kTile) || (b0 == 0 && b1 == kTile);
  }
};

HWY_INLINE Span Clip(const Visible& see, int64_t tile) {
  const auto clip = [&](int64_t e) {
    return std::clamp<int64_t>(e - tile, 0, kTile);
  };
  return {clip(see.a0), clip(see.a1), clip(see.b0), clip(see.b1)};
}

// The columns of the tile that any token sees: [*j0, *j1), empty if none.
HWY_INLINE void Union(const Visible* visible, int64_t tokens, int64_t tile,
                      int64_t* j0, int64_t* j1) {
  *j0 = kTile;
  *j1 = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    const Span span = Clip(visible[t], tile);
    if (span.a0 < span.a1) {
      *j0 = std::min(*j0, span.a0);
      *j1 = std::max(*j1, span.a1);
    }
    if (span.b0 < span.b1) {
      *j0 = std::min(*j0, span.b0);
      *j1 = std::max(*j1, span.b1);
    }
  }
}

// [first, last) entries that any token sees, or first ≥ last.
HWY_INLINE void Extent(const Visible* visible, int64_t tokens, int64_t* first,
                       int64_t* last) {
  *first = std::numeric_limits<int32_t>::max();
  *last = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    const Visible& see = visible[t];
    if (see.a0 < see.a1) {
      *first = std::min<int64_t>(*first, see.a0);
      *last = std::max<int64_t>(*last, see.a1);
    }
    if (see.b0 < see.b1) {
      *first = std::min<int64_t>(*first, see.b0);
      *last = std::max<int64_t>(*last, see.b1);
    }
  }
}

// Gives the columns that the span leaves out the value `fill`.
HWY_INLINE void Mask(const Span& span, float fill, float* row) {
  if (span.all()) return;
  const bool has_a = span.a0 < span.a1, has_b = span.b0 < span.b1;
  int64_t j = 0;
  if (has_a) {
    std::fill(row, row + span.a0, fill);
    j = span.a1;
  }
  if (has_b) {
    std::fill(row + j, row + span.b0, fill);
    j = span.b1;
  }
  std::fill(row + j, row + kTile, fill);
}

// tanh with a relative error of 3e-7: a series where the sigmoid would cancel.
HWY_INLINE VF Tanh(VF x) {
  const DF d;
  const VF two = hn::Set(d, 2.0f);
  const VF far =
      hn::MulSub(two, math::Sigmoid(d, hn::Mul(two, x)), hn::Set(d, 1.0f));
  const VF z = hn::Mul(x, x);
  VF p = hn::Set(d, 62.0f / 2835);
  p = hn::MulAdd(p, z, hn::Set(d, -17.0f / 315));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f / 15));
  p = hn::MulAdd(p, z, hn::Set(d, -1.0f / 3));
  const VF near = hn::MulAdd(hn::Mul(p, z), x, x);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.3f)), near, far);
}

HWY_INLINE void Softcap(float cap, float* row) {
  const DF d;
  const VF c = hn::Set(d, cap), inverse = hn::Set(d, 1.0f / cap);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    const VF x = hn::LoadU(d, row + j);
    hn::StoreU(hn::Mul(c, Tanh(hn::Mul(x, inverse))), d, row + j);
  }
}

HWY_INLINE float MaxOfTile(const float* row) {
  const DF d;
  VF most = hn::Set(d, -kInfinity);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    most = hn::Max(most, hn::LoadU(d, row + j));
  }
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

// row ← exp(row − offset); returns the sum.
HWY_INLINE float ExpOfTile(float offset, float* row) {
  const DF d;
  const VF shift = hn::Set(d, offset);
  VF sum = hn::Zero(d);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    const VF p = math::Exp(d, hn::Sub(hn::LoadU(d, row + j), shift));
    hn::StoreU(p, d, row + j);
    sum = hn::Add(sum, p);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

HWY_INLINE void ScaleRow(float factor, float* row, int64_t n) {
  const DF d;
  const VF f = hn::Set(d, factor);
  for (int64_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(f, hn::LoadU(d, row + i)), d, row + i);
  }
}

// The running maximum m and sum l of a row, and its sums o, take in a tile of
// scores, which become exp(score − m). A tile without a visible key changes
// nothing, so a row does not notice tiles that only its neighbours see.
HWY_INLINE void SoftmaxStep(const Span& span, float softcap, float* scores,
                            float* m, float* l, float* o, int64_t dim) {
  if (span.empty()) {
    std::fill(scores, scores + kTile, 0.0f);
    return;
  }
  if (softcap > 0) Softcap(softcap, scores);
  Mask(span, -kInfinity, scores);
  const float most = std::max(*m, MaxOfTile(scores));
  if (most != *m) {
    const float shrink = std::exp(*m - most);
    *l *= shrink;
    ScaleRow(shrink, o, dim);
    *m = most;
  }
  *l += ExpOfTile(most, scores);
}

HWY_INLINE void FinishRow(float m, float l, const float* sink, const float* o,
                          int64_t dim, float* out, float* lse) {
  double sum = l, most = m;
  double weight = 1.0;  // of the sums o
  if (sink != nullptr) {
    most = std::max<double>(m, *sink);
    weight = std::exp(m - most);
    sum = l * weight + std::exp(*sink - most);
  }
  if (l == 0) {
    std::fill(out, out + dim, 0.0f);
  } else {
    const float factor = static_cast<float>(weight / sum);
    for (int64_t i = 0; i < dim; ++i) out[i] = o[i] * factor;
  }
  *lse = sum == 0 ? -kInfinity : static_cast<float>(most + std::log(sum));
}

void ForwardBlockImpl(const ForwardArgs& args, float* scratch) {
  const int64_t rows = args.tokens * args.group;
  const int64_t kd = args.key_dim, vd = args.value_dim, vp = Padded(vd);
  float* q = scratch;                     // [rows, kd], scaled
  float* scores = q + rows * Padded(kd);  // [rows, kTile]
  float* o = scores + rows * kTile;       // [rows, vp]
  float* keys = o + rows * vp;            // packed panels
  float* values = keys + Padded(kd) * kTile;
  float* buffer = values + kTile * vp;
  float* m = buffer + 5 * Padded(std::max(kd, vd));
  float* l = m + rows;
  for (int64_t r = 0; r < rows; ++r) {
    const float* from =
        args.q + r / args.group * args.q_stride + r % args.group * kd;
    for (int64_t i = 0; i < kd; ++i) q[r * kd + i] = args.scale * from[i];
    m[r] = -kInfinity;
    l[r] = 0;
  }
  std::fill(o, o + rows * vp, 0.0f);
  std::fill(keys, keys + kd * kTile, 0.0f);

  int64_t first, last;
  Extent(args.visible, args.tokens, &first, &last);
  for (int64_t tile = first / kTile * kTile; tile < last; tile += kTile) {
    int64_t j0, j1;
    Union(args.visible, args.tokens, tile, &j0, &j1);
    if (j0 >= j1) continue;
    Right k = LoadTransposed(args.k, tile, j0, j1, kd, keys, buffer);
    const int64_t c0 = j0 / kPanel * kPanel, c1 = Padded(j1);
    k.data += c0 / kPanel * k.panel;
    Product({q, kd, 1}, k, scores + c0, kTile, rows, kd, c1 - c0, false);
    for (int64_t r = 0; r < rows; ++r) {
      SoftmaxStep(Clip(args.visible[r / args.group], tile), args.softcap,
                  scores + r * kTile, &m[r], &l[r], o + r * vp, vp);
    }
    const Right v = LoadRows(args.v, tile + j0, tile + j1, vd, values, buffer);
    Product({scores + j0, kTile, 1}, v, o, vp, rows, j1 - j0, vp, true);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = r / args.group, g = r % args.group;
    FinishRow(m[r], l[r], args.sinks ? args.sinks + g : nullptr, o + r * vp, vd,
              args.out + t * args.out_stride + g * vd,
              args.lse + t * args.lse_stride + g);
  }
}

HWY_INLINE float Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return static_cast<float>(sum);
}

// Scores → P = exp(score − lse); and dP → dScore = P (dP − delta), through the
// softcap.
HWY_INLINE void SoftmaxBackward(const Span& span, float softcap, float lse,
                                float delta, float* scores, float* d_scores) {
  const DF d;
  if (span.empty()) {
    std::fill(scores, scores + kTile, 0.0f);
    std::fill(d_scores, d_scores + kTile, 0.0f);
    return;
  }
  if (softcap > 0) Softcap(softcap, scores);
  Mask(span, -kInfinity, scores);
  Mask(span, 0.0f, d_scores);
  const VF vlse = hn::Set(d, lse), vdelta = hn::Set(d, delta);
  const VF inverse = hn::Set(d, softcap > 0 ? 1.0f / softcap : 0.0f);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    const VF s = hn::LoadU(d, scores + j);
    const VF p = math::Exp(d, hn::Sub(s, vlse));
    VF g = hn::Mul(p, hn::Sub(hn::LoadU(d, d_scores + j), vdelta));
    if (softcap > 0) {
      const VF slope = hn::Mul(s, inverse);  // tanh
      const VF steepness = hn::NegMulAdd(slope, slope, hn::Set(d, 1.0f));
      g = hn::IfThenElse(hn::Eq(p, hn::Zero(d)), hn::Zero(d),
                         hn::Mul(g, steepness));
    }
    hn::StoreU(p, d, scores + j);
    hn::StoreU(g, d, d_scores + j);
  }
}

void BackwardSegmentImpl(const BackwardArgs& args, float* scratch) {
  const int64_t group = args.group, rows = args.tokens * group;
  const int64_t kd = args.key_dim, vd = args.value_dim;
  const int64_t kp = Padded(kd), vp = Padded(vd);
  float* q = scratch;  // [rows, kp], scaled
  float* d_out = q + rows * kp;
  float* d_q = d_out + rows * vp;
  float* delta = d_q + rows * kp;
  float* keys = delta + Padded(rows);  // packed panels
  float* values = keys + kp * kTile;
  float* key_rows = values + vp * kTile;
  float* d_keys = key_rows + kTile * kp;
  float* d_values = d_keys + kTile * kp;
  float* scores = d_values + kTile * vp;
  const int64_t block = std::max<int64_t>(1, kRows / group) * group;
  float* d_scores = scores + block * kTile;
  float* buffer = d_scores + block * kTile;
  std::fill(scratch, keys, 0.0f);
  std::fill(keys, key_rows, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = r / group, g = r % group;
    const float* from = args.q + t * args.q_stride + g * kd;
    for (int64_t i = 0; i < kd; ++i) q[r * kp + i] = args.scale * from[i];
    const int64_t at = t * args.out_stride + g * vd;
    std::copy(args.d_out + at, args.d_out + at + vd, d_out + r * vp);
    delta[r] = Dot(args.d_out + at, args.out + at, vd);
    if (args.d_lse) delta[r] -= args.d_lse[t * args.lse_stride + g];
  }
  EntryRows k, v;
  k.data = reinterpret_cast<const std::byte*>(args.k);
  k.stride = args.k_stride;
  v.data = reinterpret_cast<const std::byte*>(args.v);
  v.stride = args.v_stride;

  for (int64_t tile = 0; tile < args.keys; tile += kTile) {
    const int64_t count = std::min(kTile, args.keys - tile);
    const Right kt = LoadTransposed(k, tile, 0, count, kd, keys, buffer);
    const Right vt = LoadTransposed(v, tile, 0, count, vd, values, buffer);
    const Right plain = LoadRows(k, tile, tile + count, kd, key_rows, buffer);
    std::fill(d_keys, d_keys + kTile * kp, 0.0f);
    std::fill(d_values, d_values + kTile * vp, 0.0f);
    for (int64_t r0 = 0; r0 < rows; r0 += block) {
      const int64_t n = std::min(block, rows - r0);
      int64_t j0, j1;
      Union(args.visible + r0 / group, n / group, tile, &j0, &j1);
      if (j0 >= j1) continue;
      Product({q + r0 * kp, kp, 1}, kt, scores, kTile, n, kd, kTile, false);
      Product({d_out + r0 * vp, vp, 1}, vt, d_scores, kTile, n, vd, kTile,
              false);
      for (int64_t r = 0; r < n; ++r) {
        const int64_t t = (r0 + r) / group, g = (r0 + r) % group;
        SoftmaxBackward(Clip(args.visible[t], tile), args.softcap,
                        args.lse[t * args.lse_stride + g], delta[r0 + r],
                        scores + r * kTile, d_scores + r * kTile);
      }
      Product({scores, 1, kTile}, Plain(d_out + r0 * vp, vp), d_values, vp,
              count, n, vp, true);
      Product({d_scores, 1, kTile}, Plain(q + r0 * kp, kp), d_keys, kp, count,
              n, kp, true);
      Product({d_scores, kTile, 1}, plain, d_q + r0 * kp, kp, n, count, kp,
              true);
    }
    for (int64_t j = 0; j < count; ++j) {
      std::copy(d_keys + j * kp, d_keys + j * kp + kd,
                args.d_k + (tile + j) * args.k_stride);
      std::copy(d_values + j * vp, d_values + j * vp + vd,
                args.d_v + (tile + j) * args.v_stride);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* to = args.d_q + r / group * args.q_stride + r % group * kd;
    for (int64_t i = 0; i < kd; ++i) to[i] = args.scale * d_q[r * kp + i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::attention_internal {

HWY_EXPORT(ForwardBlockImpl);
HWY_EXPORT(BackwardSegmentImpl);

int64_t ForwardScratch(const ForwardArgs& args) {
  const int64_t rows = args.tokens * args.group;
  const int64_t kp = Padded(args.key_dim), vp = Padded(args.value_dim);
  return rows * (kp + kTile + vp + 2) + kTile * (kp + vp) +
         5 * std::max(kp, vp);
}

void ForwardBlock(const ForwardArgs& args, float* scratch) {
  HWY_DYNAMIC_DISPATCH(ForwardBlockImpl)(args, scratch);
}

int64_t BackwardScratch(const BackwardArgs& args) {
  const int64_t rows = args.tokens * args.group;
  const int64_t kp = Padded(args.key_dim), vp = Padded(args.value_dim);
  const int64_t block = std::max<int64_t>(1, kRows / args.group) * args.group;
  return rows * (2 * kp + vp) + Padded(rows) + kTile * (3 * kp + 2 * vp) +
         2 * block * kTile + 5 * std::max(kp, vp);
}

void BackwardSegment(const BackwardArgs& args, float* scratch) {
  HWY_DYNAMIC_DISPATCH(BackwardSegmentImpl)(args, scratch);
}

void MergeRows(const float* out_a, const float* lse_a, const float* out_b,
               const float* lse_b, float* out, float* lse, int64_t begin,
               int64_t end, int64_t dim) {
  for (int64_t r = begin; r < end; ++r) {
    const double most = std::max(lse_a[r], lse_b[r]);
    if (most == -std::numeric_limits<double>::infinity()) {
      lse[r] = lse_a[r];  // neither part saw a key
      std::fill(out + r * dim, out + (r + 1) * dim, 0.0f);
      continue;
    }
    const double a = std::exp(lse_a[r] - most), b = std::exp(lse_b[r] - most);
    lse[r] = static_cast<float>(most + std::log(a + b));
    const float wa = static_cast<float>(a / (a + b));
    const float wb = static_cast<float>(b / (a + b));
    for (int64_t i = r * dim; i < (r + 1) * dim; ++i) {
      out[i] = wa * out_a[i] + wb * out_b[i];
    }
  }
}

}  // namespace intarsia::attention_internal
#endif  // HWY_ONCE
