// Products of experts on Hopper: rows that are sorted by expert, each times its
// expert's matrix. bf16 in and out, fp32 sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// y[r, :] = weights[e] x[r, :] for row_starts[e] <= r < row_starts[e + 1].
struct Sm90GroupedGemmArgs {
  const __nv_bfloat16* x = nullptr;        // [rows, in]
  const __nv_bfloat16* weights = nullptr;  // [experts, out, in]
  // [experts + 1]: 0, then where each expert's rows end, at last `rows`.
  const int32_t* row_starts = nullptr;
  __nv_bfloat16* y = nullptr;  // [rows, out]

  int rows = 0;
  int experts = 0;
  int in = 0;  // a multiple of 8, as is `out`
  int out = 0;
};

// All pointers 16-byte aligned. Reads nothing back; allocates nothing. Returns
// cudaErrorInvalidValue for arguments outside the limits above.
cudaError_t LaunchSm90GroupedGemm(const Sm90GroupedGemmArgs& args,
                                  cudaStream_t stream);

}  // namespace intarsia
