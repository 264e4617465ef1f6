// RMS norm on Hopper, with the residual addition that precedes it, in one pass
// over memory. bf16 in and out, fp32 inside.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace intarsia {

//   h   = x + residual                (rounded to bf16; x without a residual)
//   out = h / sqrt(mean(h^2) + epsilon) * (weight_offset + weight)
// Rows are contiguous. `residual_out` may be `x` or `residual`, and `out` may
// be `x`: each row is read before it is written.
struct Sm90RmsNormArgs {
  const __nv_bfloat16* x = nullptr;         // [rows, dim]
  const __nv_bfloat16* residual = nullptr;  // [rows, dim] or null
  const __nv_bfloat16* weight = nullptr;    // [dim]
  const float* weight_f32 = nullptr;        // [dim], instead of weight
  __nv_bfloat16* residual_out = nullptr;    // [rows, dim]: h, or null
  __nv_bfloat16* out = nullptr;             // [rows, dim]
  float* inverse_rms = nullptr;             // [rows] or null, for gradients
  int rows = 0;
  int dim = 0;
  float epsilon = 1e-5f;
  float weight_offset = 0.0f;  // 1 for weights stored as their excess over 1
};

// Any dim; multiples of 8 up to 16384 with 16-byte aligned pointers are fast.
cudaError_t LaunchSm90RmsNorm(const Sm90RmsNormArgs& args, cudaStream_t stream);

}  // namespace intarsia
