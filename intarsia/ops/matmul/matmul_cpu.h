// The fp32 matrix product behind DenseMatmul and the gradients of Linear.
#pragma once

#include <cstdint>

#include "intarsia/core/thread_pool.h"

namespace intarsia {

// C[m, n] = Σ_k A[m, k] B[k, n] + (accumulate ? C[m, n] : 0). Element (i, j)
// of A lies at a[i · a_row + j · a_col], likewise B, so a transposed operand is
// a swap of its strides; C's rows are dense, c_row apart. The sum over K is cut
// at fixed places, whatever the threads.
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t a_row = 0, a_col = 1;
  const float* b = nullptr;
  int64_t b_row = 0, b_col = 1;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
};

// pool may be null.
void Gemm(ThreadPool* pool, const GemmArgs& args);

}  // namespace intarsia
