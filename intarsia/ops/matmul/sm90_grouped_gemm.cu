// Tiles go by expert, then by groups of columns, so that what runs at one time
// shares its rows and weights in L2.
#include "intarsia/ops/matmul/sm90_gemm_tile.cuh"
#include "intarsia/ops/matmul/sm90_grouped_gemm.h"

namespace intarsia {
namespace {

bool IsValid(const Sm90GroupedGemmArgs& a) {
  return a.rows >= 0 && a.experts > 0 && a.in > 0 && a.in % 8 == 0 &&
         a.out > 0 && a.out % 8 == 0 &&
         int64_t{a.experts} * a.out <= INT32_MAX && cuda::IsAligned16(a.x) &&
         cuda::IsAligned16(a.weights) && cuda::IsAligned16(a.y);
}

}  // namespace

cudaError_t LaunchSm90GroupedGemm(const Sm90GroupedGemmArgs& args,
                                  cudaStream_t stream) {
  if (!IsValid(args)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  gemm::Params<__nv_bfloat16> p = {};
  p.row_starts = args.row_starts;
  p.y = args.y;
  p.rows = args.rows;
  p.groups = args.experts;
  p.out = args.out;
  return gemm::Launch<256, __nv_bfloat16, true>(p, args.x, args.in,
                                                args.weights, args.in, stream);
}

}  // namespace intarsia
