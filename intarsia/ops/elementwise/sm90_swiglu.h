// The gate of a SwiGLU block on Hopper.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// out = silu(gate) * up, silu(x) = x / (1 + e^-x), computed in fp32.
// Rows are strides apart, so gate and up may be halves of one fused
// projection. `out` may be `gate` or `up`.
struct Sm90SwiGluArgs {
  const __nv_bfloat16* gate = nullptr;  // [rows, dim]
  const __nv_bfloat16* up = nullptr;    // [rows, dim]
  __nv_bfloat16* out = nullptr;         // [rows, dim]
  int rows = 0;
  int dim = 0;
  int64_t gate_stride = 0;  // in elements
  int64_t up_stride = 0;
  int64_t out_stride = 0;
};

// Any size; fast if dim and the strides are multiples of 8 and the pointers
// aligned to 16 bytes.
cudaError_t LaunchSm90SwiGlu(const Sm90SwiGluArgs& args, cudaStream_t stream);

}  // namespace intarsia
