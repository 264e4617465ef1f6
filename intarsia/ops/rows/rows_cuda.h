// CUDA kernels of the room; null in a build without them.
#pragma once

#include <span>
#include <vector>

#include "intarsia/ops/rows/rows.h"

namespace intarsia::rows_cuda {

// Rows in fp32 or bf16, which the result has too; factors fp32 or undefined
// (1).
struct Kernels {
  // out[i] = factors[i] · x[rows[i]]
  Tensor (*gather)(Context& ctx, const Tensor& x, std::span<const int32_t> rows,
                   const Tensor& factors);
  // out[t] = Σ factors[i] · x[i] over i in order[first[t], first[t + 1]). x
  // contiguous.
  Tensor (*combine)(Context& ctx, const Tensor& x,
                    std::span<const int32_t> first,
                    std::span<const int32_t> order, const Tensor& factors);
  // Parts [T, …] side by side, and a matrix cut into parts of these widths.
  Tensor (*join)(Context& ctx, const std::vector<Tensor>& parts, int64_t width);
  std::vector<Tensor> (*split)(Context& ctx, const Tensor& x,
                               const std::vector<int64_t>& widths);
  // fp32, contiguous: out[i] = x[i] · g[rows[i]].
  Tensor (*dots)(Context& ctx, const Tensor& x, const Tensor& g,
                 std::span<const int32_t> rows);
  // As LargestOfRows, i32 [T] on the device.
  Tensor (*largest)(Context& ctx, const Tensor& x);
};
extern const Kernels* kernels;

}  // namespace intarsia::rows_cuda
