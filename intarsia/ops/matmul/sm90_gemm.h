// Dense products on Hopper: bf16 operands, fp32 sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// y[r, n] = bias[n] + Σ_k x[r, k] w[n, k].
struct Sm90GemmArgs {
  const __nv_bfloat16* x = nullptr;  // [rows, in]
  int64_t x_stride = 0;              // in elements, a multiple of 8
  const __nv_bfloat16* w = nullptr;  // [out, in]
  const float* bias = nullptr;       // [out] or null
  void* y = nullptr;                 // [rows, out], bf16 or fp32
  bool y_f32 = false;
  int rows = 0;
  int in = 0;  // a multiple of 8, as is `out`
  int out = 0;
  // Columns of a tile: 64, 128, 192 or 256; 0: what fits the shape and the
  // number of multiprocessors best.
  int tile_columns = 0;
};

// A row of y has the same bits whatever the other rows, for one tile_columns
// and whichever. All pointers 16-byte aligned. cudaErrorInvalidValue for
// arguments outside the limits above. Allocates nothing; may be captured.
cudaError_t LaunchSm90Gemm(const Sm90GemmArgs& args, cudaStream_t stream);

}  // namespace intarsia
