// CUDA kernels of the tape; null in a build without them.
#pragma once

#include "intarsia/core/context.h"

namespace intarsia::autograd_cuda {

struct Kernels {
  // fp32: (*to)[begin + r · stride + i] += from[r · n + i] for `rows` rows of
  // n. Both contiguous.
  void (*add_rows)(const Context& ctx, int64_t rows, int64_t n,
                   const Tensor& from, Tensor* to, int64_t begin,
                   int64_t stride);
};
extern const Kernels* kernels;

}  // namespace intarsia::autograd_cuda
