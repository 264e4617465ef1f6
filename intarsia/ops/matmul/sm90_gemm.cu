// One group of the grouped product's tiles (sm90_gemm_tile.cuh), narrower where
// the shape leaves wide ones empty or multiprocessors idle.
#include "intarsia/ops/matmul/sm90_gemm.h"

#include "intarsia/ops/matmul/sm90_gemm_tile.cuh"

namespace intarsia {
namespace {

// Rounds of the grid times what a tile costs: its columns, and the rows and the
// start that every tile pays for.
int BestTile(const Sm90GemmArgs& a, int multiprocessors) {
  int best = 256;
  int64_t least = INT64_MAX;
  for (const int columns : {256, 192, 128, 64}) {
    const int64_t tiles =
        cuda::CeilDiv(a.rows, gemm::kTileRows) * cuda::CeilDiv(a.out, columns);
    const int64_t cost = cuda::CeilDiv(tiles, multiprocessors) * (columns + 48);
    if (cost < least) {
      least = cost;
      best = columns;
    }
  }
  return best;
}

template <typename Y>
cudaError_t LaunchFor(const Sm90GemmArgs& a, int tile, cudaStream_t stream) {
  gemm::Params<Y> p = {};
  p.bias = a.bias;
  p.y = static_cast<Y*>(a.y);
  p.rows = a.rows;
  p.groups = 1;
  p.out = a.out;
  switch (tile) {
    case 64:
      return gemm::Launch<64, Y, false>(p, a.x, a.x_stride, a.w, a.in, stream);
    case 128:
      return gemm::Launch<128, Y, false>(p, a.x, a.x_stride, a.w, a.in, stream);
    case 192:
      return gemm::Launch<192, Y, false>(p, a.x, a.x_stride, a.w, a.in, stream);
    case 256:
      return gemm::Launch<256, Y, false>(p, a.x, a.x_stride, a.w, a.in, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t LaunchSm90Gemm(const Sm90GemmArgs& a, cudaStream_t stream) {
  if (a.rows < 0 || a.in <= 0 || a.in % 8 != 0 || a.out <= 0 ||
      a.out % 8 != 0 || a.x_stride % 8 != 0 || !cuda::IsAligned16(a.x) ||
      !cuda::IsAligned16(a.w) || !cuda::IsAligned16(a.y)) {
    return cudaErrorInvalidValue;
  }
  if (a.rows == 0) return cudaSuccess;
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  const int tile =
      a.tile_columns > 0 ? a.tile_columns : BestTile(a, multiprocessors);
  return a.y_f32 ? LaunchFor<float>(a, tile, stream)
                 : LaunchFor<__nv_bfloat16>(a, tile, stream);
}

}  // namespace intarsia
