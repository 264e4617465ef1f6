// Products with few rows and weights in bf16 on Hopper: reading the weights is
// all the work. fp32 sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// y[r, n] = bias[n] + Σ_k x[r, k] w[n, k]. Several matrices of one width share
// a launch. With `gated` there are two and one result, [rows, out of the
// first]: silu(y of the first) * y of the second, where the sums are fp32.
struct Sm90NarrowGemmArgs {
  static constexpr int kMaxMatrices = 6;
  static constexpr int kMaxRows = 128;
  struct Matrix {
    const __nv_bfloat16* w = nullptr;  // [out, in]
    const float* bias = nullptr;       // [out] or null
    void* y = nullptr;                 // [rows, out], bf16 or fp32
    int out = 0;
  };
  const __nv_bfloat16* x = nullptr;  // [rows, in]
  int64_t x_stride = 0;              // in elements, a multiple of 8
  Matrix matrices[kMaxMatrices];
  int count = 0;
  bool y_f32 = false;
  bool gated = false;
  // Whatever ran before on the stream did not write the weights: they are
  // fetched while it ends.
  bool weights_constant = false;
  int rows = 0;  // 1 to kMaxRows
  int in = 0;    // a multiple of 8
  // Blocks that share a tile's sum over `in`, 1 to 8; 0: what occupies the
  // multiprocessors.
  int splits = 0;
};

// A row of y has the same bits whatever the other rows, for one `splits`.
// cudaErrorInvalidValue where a limit above does not hold, or x or a weight is
// not aligned to 16 bytes. Allocates nothing; may be captured.
cudaError_t LaunchSm90NarrowGemm(const Sm90NarrowGemmArgs& args,
                                 cudaStream_t stream);

}  // namespace intarsia
