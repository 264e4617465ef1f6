// Online softmax over tiles of keys, forward and backward, for the CPU.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/attention/attention_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <cmath>

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

HWY_INLINE void Softcap(float cap, float* row) {
  const DF d;
  const VF c = hn::Set(d, cap), inverse = hn::Set(d, 1.0f / cap);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    const VF x = hn::LoadU(d, row + j);
    hn::StoreU(hn::Mul(c, math::Tanh(d, hn::Mul(x, inverse))), d, row + j);
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

// The softmax of rows over some keys: for each row Σ exp(score − m) v, padded
// to whole vectors, then m, the largest score, and l = Σ exp(score − m).
class Sums {
 public:
  Sums(float* data, int64_t dim) : data_(data), dim_(Padded(dim)) {}

  int64_t dim() const { return dim_; }
  int64_t stride() const { return SumsStride(dim_); }
  float* row(int64_t r) const { return data_ + r * stride(); }
  float& m(int64_t r) const { return row(r)[dim_]; }
  float& l(int64_t r) const { return row(r)[dim_ + 1]; }

  void Clear(int64_t rows) const {
    std::fill(data_, data_ + rows * stride(), 0.0f);
    for (int64_t r = 0; r < rows; ++r) m(r) = -kInfinity;
  }

 private:
  float* data_;
  int64_t dim_;
};

// A row takes in a tile of scores, which become exp(score − m). A tile without
// a visible key changes nothing, so a row does not notice tiles that only its
// neighbours see.
HWY_INLINE void SoftmaxStep(const Span& span, float softcap, float* scores,
                            const Sums& sums, int64_t r) {
  if (span.empty()) {
    std::fill(scores, scores + kTile, 0.0f);
    return;
  }
  if (softcap > 0) Softcap(softcap, scores);
  Mask(span, -kInfinity, scores);
  const float most = std::max(sums.m(r), MaxOfTile(scores));
  if (most != sums.m(r)) {
    const float shrink = std::exp(sums.m(r) - most);
    sums.l(r) *= shrink;
    ScaleRow(shrink, sums.row(r), sums.dim());
    sums.m(r) = most;
  }
  sums.l(r) += ExpOfTile(most, scores);
}

// Adds row r of `part` to that of `total`. A part without a visible key changes
// nothing; the first with one is copied.
HWY_INLINE void AddSums(const Sums& part, const Sums& total, int64_t r) {
  if (part.m(r) == -kInfinity && part.l(r) == 0) return;
  float* to = total.row(r);
  const float* from = part.row(r);
  if (total.m(r) == -kInfinity && total.l(r) == 0) {
    std::copy(from, from + total.stride(), to);
    return;
  }
  const float most = std::max(total.m(r), part.m(r));
  const float a = std::exp(total.m(r) - most), b = std::exp(part.m(r) - most);
  const DF d;
  const VF va = hn::Set(d, a), vb = hn::Set(d, b);
  for (int64_t i = 0; i < total.dim(); i += hn::Lanes(d)) {
    const VF scaled = hn::Mul(va, hn::LoadU(d, to + i));
    hn::StoreU(hn::MulAdd(vb, hn::LoadU(d, from + i), scaled), d, to + i);
  }
  total.l(r) = total.l(r) * a + part.l(r) * b;
  total.m(r) = most;
}

HWY_INLINE void FinishRow(const Sums& sums, int64_t r, const float* sink,
                          int64_t dim, float* out, float* lse) {
  const float m = sums.m(r), l = sums.l(r);
  double sum = l, most = m;
  double weight = 1.0;  // of the sums
  if (sink != nullptr) {
    most = std::max<double>(m, *sink);
    weight = std::exp(m - most);
    sum = l * weight + std::exp(*sink - most);
  }
  if (l == 0) {
    std::fill(out, out + dim, 0.0f);
  } else {
    const float factor = static_cast<float>(weight / sum);
    for (int64_t i = 0; i < dim; ++i) out[i] = sums.row(r)[i] * factor;
  }
  *lse = sum == 0 ? -kInfinity : static_cast<float>(most + std::log(sum));
}

HWY_INLINE void FinishRows(const ForwardArgs& args, const Sums& sums) {
  for (int64_t r = 0; r < args.rows(); ++r) {
    const int64_t t = r / args.group, g = r % args.group;
    FinishRow(sums, r, args.sinks ? args.sinks + g : nullptr, args.value_dim,
              args.out + t * args.out_stride + g * args.value_dim,
              args.lse + t * args.lse_stride + g);
  }
}

// The query rows of a block, scaled: [rows, key_dim].
HWY_INLINE void ScaleQueries(const ForwardArgs& args, float* to) {
  for (int64_t r = 0; r < args.rows(); ++r, to += args.key_dim) {
    const float* from =
        args.q + r / args.group * args.q_stride + r % args.group * args.key_dim;
    for (int64_t i = 0; i < args.key_dim; ++i) to[i] = args.scale * from[i];
  }
}

// The parts of a call's scratch memory, for blocks of one shape.
struct ForwardBuffers {
  float* scores;         // [rows, kTile]
  float *keys, *values;  // packed panels
  float* rows;           // 5 padded rows
  float *part, *total;   // Sums
  float* q;              // [blocks, rows, key_dim], scaled

  ForwardBuffers(std::span<const ForwardArgs> blocks, float* scratch) {
    const ForwardArgs& args = blocks[0];
    const int64_t rows_count = args.rows();
    const int64_t kp = Padded(args.key_dim), vp = Padded(args.value_dim);
    const auto take = [&](int64_t n) {
      float* at = scratch;
      scratch += n;
      return at;
    };
    scores = take(rows_count * kTile);
    keys = take(kTile * kp);
    values = take(kTile * vp);
    rows = take(5 * std::max(kp, vp));
    part = take(rows_count * SumsStride(args.value_dim));
    total = take(rows_count * SumsStride(args.value_dim));
    q = scratch;
    for (const ForwardArgs& block : blocks) {
      ScaleQueries(block, take(rows_count * args.key_dim));
    }
    std::fill(keys, keys + args.key_dim * kTile, 0.0f);
  }
};

// Entries tile + [j0, j1) below `last` of key heads that lie side by side: rows
// of one head lie too far apart for the processor to see a stream in them,
// those of all heads together fill memory without a gap.
HWY_INLINE Fetcher TileOf(std::span<const ForwardArgs> blocks, int64_t tile,
                          int64_t last, int64_t j0, int64_t j1) {
  Fetcher fetcher;
  const ForwardArgs& args = blocks[0];
  const auto heads = static_cast<int64_t>(blocks.size());
  const int64_t begin = tile + j0, end = std::min(tile + j1, last);
  const auto add = [&](const EntryRows& rows, int64_t dim) {
    if (begin >= end || !rows.OneArray(begin, end)) return;
    const auto step = static_cast<int64_t>(rows.row_bytes());
    const auto bytes = heads * dim * static_cast<int64_t>(SizeOf(rows.dtype));
    fetcher.Add(rows.Row(begin), (end - begin - 1) * step + bytes);
  };
  add(args.k, args.key_dim);
  add(args.v, args.value_dim);
  return fetcher;
}

// q: the block's queries, scaled.
template <class F>
HWY_INLINE void AddTile(const ForwardArgs& args, const ForwardBuffers& buffers,
                        const float* q, int64_t tile, const Sums& sums,
                        F& fetcher) {
  const int64_t rows = args.rows(), kd = args.key_dim, vd = args.value_dim;
  int64_t j0, j1;
  Union(args.visible, args.tokens, tile, &j0, &j1);
  if (j0 >= j1) return;
  Right k = LoadTransposed(args.k, tile, j0, j1, kd, buffers.keys, buffers.rows,
                           fetcher);
  const int64_t c0 = j0 / kPanel * kPanel, c1 = Padded(j1);
  k.data += c0 / kPanel * k.panel;
  Product({q, kd, 1}, k, buffers.scores + c0, kTile, rows, kd, c1 - c0, false,
          fetcher);
  for (int64_t r = 0; r < rows; ++r) {
    SoftmaxStep(Clip(args.visible[r / args.group], tile), args.softcap,
                buffers.scores + r * kTile, sums, r);
  }
  const Left weights = {buffers.scores + j0, kTile, 1};
  if (Few(args) && AddRows(weights, args.v, tile + j0, tile + j1, vd,
                           sums.row(0), sums.stride(), rows, fetcher)) {
    return;
  }
  const Right v =
      LoadRows(args.v, tile + j0, tile + j1, vd, buffers.values, buffers.rows);
  Product(weights, v, sums.row(0), sums.stride(), rows, j1 - j0, sums.dim(),
          true);
}

void ForwardBlockImpl(const ForwardArgs& args, float* scratch) {
  const ForwardBuffers buffers({&args, 1}, scratch);
  const Sums total(buffers.total, args.value_dim);
  const Sums part(buffers.part, args.value_dim);
  int64_t first, last;
  Extent(args.visible, args.tokens, &first, &last);
  total.Clear(args.rows());
  NoFetcher none;
  for (int64_t span = first / kSpan * kSpan; span < last; span += kSpan) {
    part.Clear(args.rows());
    const int64_t end = std::min(last, span + kSpan);
    for (int64_t tile = std::max(first, span) / kTile * kTile; tile < end;
         tile += kTile) {
      AddTile(args, buffers, buffers.q, tile, part, none);
    }
    for (int64_t r = 0; r < args.rows(); ++r) AddSums(part, total, r);
  }
  FinishRows(args, total);
}

void ForwardSpansImpl(std::span<const ForwardArgs> blocks, int64_t span,
                      int64_t spans, float* const* sums, float* scratch) {
  const ForwardBuffers buffers(blocks, scratch);
  const ForwardArgs& args = blocks[0];
  const auto count = static_cast<int64_t>(blocks.size());
  const int64_t rows = args.rows();
  const auto sums_of = [&](int64_t b, int64_t i) {
    const int64_t size = rows * SumsStride(args.value_dim);
    return Sums(sums[b] + i * size, args.value_dim);
  };
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t i = 0; i < spans; ++i) sums_of(b, i).Clear(rows);
  }
  int64_t first, last;
  Extent(args.visible, args.tokens, &first, &last);
  first = std::max(first, span * kSpan) / kTile * kTile;
  last = std::min(last, (span + spans) * kSpan);
  TileOf(blocks, first, last, 0, kTile).Rest();
  for (int64_t tile = first; tile < last; tile += kTile) {
    for (int64_t b = 0; b < count; ++b) {
      // A share of the next tile of all blocks, in the order of memory.
      Fetcher next = TileOf(blocks, tile + kTile, last, kTile * b / count,
                            kTile * (b + 1) / count);
      AddTile(blocks[b], buffers, buffers.q + b * rows * args.key_dim, tile,
              sums_of(b, tile / kSpan - span), next);
      next.Rest();
    }
  }
}

void FinishSpansImpl(const ForwardArgs& args, int64_t spans, float* sums) {
  const Sums total(sums, args.value_dim);
  const int64_t size = args.rows() * total.stride();
  for (int64_t i = 1; i < spans; ++i) {
    const Sums part(sums + i * size, args.value_dim);
    for (int64_t r = 0; r < args.rows(); ++r) AddSums(part, total, r);
  }
  FinishRows(args, total);
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

  NoFetcher none;
  for (int64_t tile = 0; tile < args.keys; tile += kTile) {
    const int64_t count = std::min(kTile, args.keys - tile);
    const Right kt = LoadTransposed(k, tile, 0, count, kd, keys, buffer, none);
    const Right vt =
        LoadTransposed(v, tile, 0, count, vd, values, buffer, none);
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
HWY_EXPORT(ForwardSpansImpl);
HWY_EXPORT(FinishSpansImpl);
HWY_EXPORT(BackwardSegmentImpl);

// The sizes of ForwardBuffers.
int64_t ForwardScratch(const ForwardArgs& args, int64_t blocks) {
  const int64_t kp = Padded(args.key_dim), vp = Padded(args.value_dim);
  return args.rows() *
             (blocks * args.key_dim + kTile + 2 * SumsStride(args.value_dim)) +
         kTile * (kp + vp) + 5 * std::max(kp, vp);
}

void ForwardSpans(std::span<const ForwardArgs> blocks, int64_t span,
                  int64_t spans, float* const* sums, float* scratch) {
  HWY_DYNAMIC_DISPATCH(ForwardSpansImpl)(blocks, span, spans, sums, scratch);
}

void FinishSpans(const ForwardArgs& args, int64_t spans, float* sums) {
  HWY_DYNAMIC_DISPATCH(FinishSpansImpl)(args, spans, sums);
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
