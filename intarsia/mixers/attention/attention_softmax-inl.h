// Online softmax over tiles of keys on the CPU: what whole blocks and the spans
// of a decode step share.
#if defined(INTARSIA_ATTENTION_SOFTMAX_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_ATTENTION_SOFTMAX_INL
#undef INTARSIA_ATTENTION_SOFTMAX_INL
#else
#define INTARSIA_ATTENTION_SOFTMAX_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "intarsia/mixers/attention/attention_mask-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = intarsia::HWY_NAMESPACE;

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
template <class Shift>
HWY_INLINE void SoftmaxStep(const Span& span, float softcap, const Shift& shift,
                            float* scores, const Sums& sums, int64_t r) {
  if (span.empty()) {
    std::fill(scores, scores + kTile, 0.0f);
    return;
  }
  if (softcap > 0) Softcap(softcap, scores);
  shift(scores);
  Mask(span, -kInfinity, scores);
  const float most = std::max(sums.m(r), MaxOfTile(scores));
  // A least bias may hide all keys of a tile.
  if (most == -kInfinity &&
      std::all_of(scores, scores + kTile,
                  [](float score) { return score == -kInfinity; })) {
    std::fill(scores, scores + kTile, 0.0f);
    return;
  }
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
  float bias[kTile];
  if (args.bias.data != nullptr) {
    for (int64_t j = j0; j < j1; ++j) {
      bias[j] = *FloatRow(args.bias, tile + j, 1, bias + j);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = r / args.group;
    const auto shift = [&](float* scores) HWY_ATTR {
      if (args.slopes != nullptr) {
        AddSlope(args.slopes[r % args.group], args.query_positions[t],
                 args.positions ? args.positions + tile : nullptr, tile, j0, j1,
                 scores);
      }
      if (args.bias.data != nullptr) {
        AddBias(bias, args.floors ? args.floors[t] : -kInfinity, j0, j1,
                scores);
      }
    };
    SoftmaxStep(Clip(args.visible[t], tile), args.softcap, shift,
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

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#endif  // the guard of one target
