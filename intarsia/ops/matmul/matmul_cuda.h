// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/matmul/matmul.h"

namespace intarsia::matmul_cuda {

// x in fp32 or bf16 with a dense last axis; results have its type. With
// ctx.dtype = kBF16 operands are rounded to bf16 on the way to tensor cores;
// with kF32 nothing is rounded.
struct Kernels {
  // As Linears and GroupedLinears, without the tape.
  std::vector<Tensor> (*linears)(Context& ctx, const Tensor& x,
                                 std::span<const LinearWeights> layers);
  std::vector<Tensor> (*grouped_linears)(Context& ctx, const Tensor& x,
                                         std::span<const Weight* const> weights,
                                         std::span<const int32_t> offsets);
  // *y as GatedLinear with silu, by one kernel; false where none takes it.
  bool (*gated)(Context& ctx, const Tensor& x, const LinearWeights& gate,
                const LinearWeights& up, Tensor* y);
  // fp32. g [T, N] times w [N, K]; op(a) times op(b), of any strides; sums of
  // columns.
  Tensor (*input_gradient)(Context& ctx, const Weight& w, const Tensor& g);
  Tensor (*product)(Context& ctx, const Tensor& a, bool trans_a,
                    const Tensor& b, bool trans_b);
  Tensor (*column_sums)(Context& ctx, const Tensor& x);
};
extern const Kernels* kernels;

}  // namespace intarsia::matmul_cuda
