// What the ops share on the host: loops over rows and views of strided tensors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "intarsia/core/tensor.h"
#include "intarsia/core/thread_pool.h"

namespace intarsia {

// Splits [0, n) over the pool, or runs it here when there is none.
template <typename Body>
void ForRange(ThreadPool* pool, int64_t n, int64_t grain, const Body& body) {
  if (pool != nullptr) {
    pool->For(n, grain, body);
  } else if (n > 0) {
    body(int64_t{0}, n);
  }
}

// How many items of `cost` elementary steps make a task worth handing over.
inline int64_t GrainFor(int64_t cost) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(cost, 1));
}

// Pointers to the rows of an fp32 tensor [..., cols] of rank 1 to 3 whose last
// axis is dense: row r of [A, B, cols] is (r / B, r % B). Anything else is
// copied first. Keeps the storage alive.
class RowView {
 public:
  explicit RowView(const Tensor& x) : tensor_(Dense(x)) {
    cols_ = tensor_.dim(-1);
    rows_ = 1;
    for (int i = 0; i + 1 < tensor_.rank(); ++i) rows_ *= tensor_.dim(i);
    inner_ = tensor_.rank() == 3 ? tensor_.dim(1) : 1;
    inner_stride_ = tensor_.rank() == 3 ? tensor_.stride(1) : 0;
    outer_stride_ = tensor_.rank() > 1 ? tensor_.stride(0) : 0;
    data_ = tensor_.data<float>();
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const float* row(int64_t r) const {
    return inner_ == 1 ? data_ + r * outer_stride_
                       : data_ + (r / inner_) * outer_stride_ +
                             (r % inner_) * inner_stride_;
  }

 private:
  static Tensor Dense(const Tensor& x) {
    CHECK(x.device().is_cpu());
    CHECK_GE(x.rank(), 1);
    if (x.rank() > 3) {
      const Tensor packed = x.Contiguous();
      const int64_t cols = x.dim(-1);
      return packed.Reshape({cols == 0 ? 0 : x.numel() / cols, cols});
    }
    return x.stride(-1) == 1 || x.dim(-1) == 1 ? x : x.Contiguous();
  }

  Tensor tensor_;
  const float* data_ = nullptr;
  int64_t rows_ = 0, cols_ = 0;
  int64_t inner_ = 1, inner_stride_ = 0, outer_stride_ = 0;
};

// sums[c] = Σ_r term(r, c) for c in [0, cols), in ascending r and double, so
// that neither threads nor the split of the columns change a bit. `term(r, c0,
// c1, acc)` adds row r's terms of columns [c0, c1) to acc[0, c1 − c0).
template <typename Term>
void SumColumns(ThreadPool* pool, int64_t rows, int64_t cols, float* sums,
                const Term& term) {
  constexpr int64_t kBlock = 64;
  const int64_t blocks = (cols + kBlock - 1) / kBlock;
  ForRange(pool, blocks, GrainFor(rows * kBlock), [&](int64_t b0, int64_t b1) {
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t c0 = b * kBlock, c1 = std::min(cols, c0 + kBlock);
      double acc[kBlock] = {};
      for (int64_t r = 0; r < rows; ++r) term(r, c0, c1, acc);
      for (int64_t c = c0; c < c1; ++c) {
        sums[c] = static_cast<float>(acc[c - c0]);
      }
    }
  });
}

}  // namespace intarsia
