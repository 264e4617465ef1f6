// Products with few rows on Hopper: decoding, where reading the weights is all
// the work. Weights in several formats, fp32 sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

// The formats that the kernel decodes on the way to the tensor cores, where
// they are rounded to bf16.
enum class ThinFormat : uint8_t { kBF16, kF16, kQ8_0, kQ4_0, kQ4_1, kF32 };

// y[r, n] = bias[n] + Σ_k x[r, k] w[n, k]. Several matrices of one format and
// width share a launch. With `gated` there are two and one result, [rows, out
// of the first]: silu(y of the first) * y of the second, where the sums are
// fp32. The weights are fetched while the kernel ahead in the stream ends: it
// must not write them.
struct Sm90ThinGemmArgs {
  static constexpr int kMaxMatrices = 6;
  struct Matrix {
    const void* w = nullptr;      // [out, in], rows `w_row_bytes` apart
    const float* bias = nullptr;  // [out] or null
    void* y = nullptr;            // [rows, out], bf16 or fp32
    int out = 0;
  };
  const __nv_bfloat16* x = nullptr;  // [rows, in]
  int64_t x_stride = 0;              // in elements, a multiple of 8
  Matrix matrices[kMaxMatrices];
  int count = 0;
  int64_t w_row_bytes = 0;
  ThinFormat format = ThinFormat::kBF16;
  bool y_f32 = false;
  bool gated = false;
  int rows = 0;  // 1 to 64
  int in = 0;    // a multiple of 32
};

// A row of y has the same bits whatever the other rows. cudaErrorInvalidValue
// where a limit above does not hold, or x or a weight in bf16, f16 or f32 is
// not aligned to 16 bytes. Allocates nothing; may be captured.
cudaError_t LaunchSm90ThinGemm(const Sm90ThinGemmArgs& args,
                               cudaStream_t stream);

}  // namespace intarsia
