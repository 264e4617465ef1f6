// What the forward and backward kernels share: the decays of a chunk, its
// scores, and copies of the state.
#if defined(INTARSIA_GATED_LINEAR_CHUNK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_GATED_LINEAR_CHUNK_INL_H_
#undef INTARSIA_GATED_LINEAR_CHUNK_INL_H_
#else
#define INTARSIA_GATED_LINEAR_CHUNK_INL_H_
#endif

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "intarsia/mixers/common/gated_linear_kernels.h"
#include "intarsia/mixers/common/small_matmul-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::gated_linear::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using namespace intarsia::HWY_NAMESPACE;  // NOLINT: the matmul helpers
using Buffer = hwy::AlignedFreeUniquePtr<float[]>;

// exp(−200) is 0 in fp32, and the clamp keeps sums of decays far from where
// differences would lose digits (or −∞ − −∞ give NaN).
HWY_INLINE float LogDecay(const Args& args, int64_t t, int64_t h) {
  return std::max(args.a[t * args.a_stride + h], -200.0f);
}

HWY_INLINE double SumOfDecays(const Args& args,
                              const GatedLinearPlan::Chunk& chunk, int64_t h) {
  double sum = 0.0;
  for (int64_t t = chunk.begin; t < chunk.end; ++t) {
    sum += LogDecay(args, t, h);
  }
  return sum;
}

HWY_INLINE int64_t
LongestChunk(std::span<const GatedLinearPlan::Chunk> chunks) {
  int64_t rows = 1;
  for (const GatedLinearPlan::Chunk& chunk : chunks) {
    rows = std::max<int64_t>(rows, chunk.end - chunk.begin);
  }
  return rows;
}

// Between the outside layout and [K, V].
HWY_INLINE void CopyState(const Args& args, const float* from, float* to,
                          bool load) {
  const int64_t K = args.key_dim, V = args.value_dim;
  if (!args.value_major) {
    std::memcpy(to, from, args.state_size() * sizeof(float));
  } else if (load) {
    Transpose(from, K, V, K, to, V);
  } else {
    Transpose(from, V, K, V, to, K);
  }
}

// What the heads of a group share: kᵀ and q kᵀ.
struct KeyBlock {
  KeyBlock(const Args& args, int64_t longest)
      : ld((longest + 15) / 16 * 16),
        transposed(hwy::AllocateAligned<float>(args.key_dim * ld)),
        products(hwy::AllocateAligned<float>(longest * ld)) {}

  void Load(const Args& args, const GatedLinearPlan::Chunk& chunk,
            const float* q, const float* k) {
    const int64_t rows = chunk.end - chunk.begin;
    const int64_t K = args.key_dim, stride = args.groups * K;
    Transpose(k, stride, rows, K, transposed.get(), ld);
    Multiply({.a = q,
              .lda = stride,
              .b = transposed.get(),
              .ldb = ld,
              .c = products.get(),
              .ldc = ld,
              .m = rows,
              .n = rows,
              .k = K,
              .shape = Shape2::kLowerC});
  }

  int64_t ld;         // row stride: rows of the longest chunk, padded
  Buffer transposed;  // [K, ld]
  Buffer products;    // [rows, ld], valid up to the diagonal
};

// What is a head's own. With c_n the sum of a over rows 0..n of the chunk:
struct HeadBlock {
  HeadBlock(const Args& args, int64_t longest)
      : ld((longest + 15) / 16 * 16),
        high(hwy::AllocateAligned<float>(ld)),
        low(hwy::AllocateAligned<float>(ld)),
        enter(hwy::AllocateAligned<float>(ld)),
        leave(hwy::AllocateAligned<float>(ld)),
        scores(hwy::AllocateAligned<float>(longest * ld)),
        values(hwy::AllocateAligned<float>(longest * args.value_dim)) {}

  void Decays(const Args& args, const GatedLinearPlan::Chunk& chunk,
              int64_t h) {
    const int64_t rows = chunk.end - chunk.begin;
    const double last = SumOfDecays(args, chunk, h);
    double sum = 0.0;
    for (int64_t n = 0; n < rows; ++n) {
      sum += LogDecay(args, chunk.begin + n, h);
      high[n] = static_cast<float>(sum);
      low[n] = static_cast<float>(sum - high[n]);
      enter[n] = args.scale * std::exp(static_cast<float>(sum));
      leave[n] = std::exp(static_cast<float>(last - sum));
    }
    for (int64_t n = rows; n < ld; ++n) high[n] = low[n] = 0.0f;
    total = std::exp(static_cast<float>(last));
  }

  // factor · exp(c_n − c_m) for m ≤ n, times products where given, else 0.
  // Sums are fp32 pairs: their differences keep fp32 accuracy however far the
  // decay has run.
  HWY_INLINE void Fade(const float* products, int64_t n, float factor,
                       float* row) const {
    const hn::ScalableTag<float> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    // To the end of the block of four rows that the matmul takes at once.
    const int64_t end = std::min((n | 3) + 1, ld);
    const auto h = hn::Set(d, high[n]), l = hn::Set(d, low[n]);
    for (int64_t m = 0; m < end; m += lanes) {
      const auto difference = hn::Add(hn::Sub(h, hn::Load(d, high.get() + m)),
                                      hn::Sub(l, hn::Load(d, low.get() + m)));
      auto value = hn::Mul(hn::Set(d, factor), Exp(d, difference));
      if (products != nullptr) {
        value = hn::Mul(value, hn::LoadU(d, products + m));
      }
      const auto past = hn::FirstN(d, n + 1 - std::min(m, n + 1));
      hn::StoreU(hn::IfThenElseZero(past, value), d, row + m);
    }
  }

  // scores[n, m] = factor · exp(c_n − c_m) · q_n k_m.
  void Scores(const KeyBlock& keys, int64_t rows, float factor) {
    for (int64_t n = 0; n < rows; ++n) {
      Fade(keys.products.get() + n * ld, n, factor, scores.get() + n * ld);
    }
  }

  // values[m] = exp(c_last − c_m) · v_m, contiguous.
  void ScaleValues(const Args& args, const float* v, int64_t rows) {
    const int64_t V = args.value_dim, stride = args.heads * V;
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t j = 0; j < V; ++j) {
        values[m * V + j] = leave[m] * v[m * stride + j];
      }
    }
  }

  int64_t ld;
  Buffer high, low;  // c_n = high + low, [rows]
  Buffer enter;  // scale · exp(c_n): what row n reads of the incoming state
  Buffer leave;  // exp(c_last − c_n): what row n leaves to the outgoing one
  float total = 1.0f;  // exp(c_last)
  Buffer scores;       // [rows, ld]
  Buffer values;       // [rows, V]
};

}  // namespace intarsia::gated_linear::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // INTARSIA_GATED_LINEAR_CHUNK_INL_H_
