// A persistent grid: a block is one producer warp and two consumer warpgroups
// of 64 rows each, which share a tile of 128 rows x 256 columns. The producer
// streams 64 channels of rows and weights at a time through four buffers, on
// to the next tile while the consumers store. Tiles go by expert, then by
// groups of columns, so that what runs at one time shares its rows and weights
// in L2. A tile that reaches past its expert multiplies a neighbour's rows and
// does not store them.
#include <algorithm>

#include "intarsia/channel_mixers/moe/sm90_grouped_gemm.h"
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/packed_scheduler.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/quad.cuh"
#include "intarsia/cuda/tile/rows.cuh"
#include "intarsia/cuda/tile/tensor_map.h"

namespace intarsia {
namespace {

constexpr int kTileRows = 128, kTileColumns = 256, kStep = 64;
constexpr int kStages = 4;
constexpr int kColumnsOfGroup = 8;  // in tiles

using RowTile = tile::PanelTile<kTileRows, kStep>;
using WeightTile = tile::PanelTile<kTileColumns, kStep>;

struct Params {
  CUtensorMap x, weights;
  Sm90GroupedGemmArgs a;
  int steps;         // of 64 channels
  int column_tiles;  // of an expert
};

struct Shared {
  alignas(1024) uint8_t x[kStages][RowTile::kBytes];
  alignas(1024) uint8_t weights[kStages][WeightTile::kBytes];
  uint64_t full[kStages], empty[kStages];
  uint64_t tile_full[2], tile_empty[2];
  tile::PackedTile tiles[2];  // rows 0: no more
};

// By one warp.
__device__ __forceinline__ void Produce(const Params& p, Shared& shared) {
  const bool leader = threadIdx.x % 32 == 0;
  tile::PackedScheduler<kTileRows, false> scheduler(
      p.a.row_starts, p.a.experts, p.column_tiles, kColumnsOfGroup);
  tile::RingPosition<kStages> ring;
  tile::RingPosition<2> slot;
  for (int number = blockIdx.x;; number += gridDim.x) {
    const tile::PackedTile t = scheduler.Find(number);
    if (leader) {
      ptx::MbarrierWait(&shared.tile_empty[slot.stage], slot.phase ^ 1);
      shared.tiles[slot.stage] = t;
      ptx::MbarrierArrive(&shared.tile_full[slot.stage]);
      slot.Next();
      if (t.rows > 0) {
        const int row = t.row_start + t.block * kTileRows;
        const int column = t.sequence * p.a.out + t.head * kTileColumns;
        for (int k = 0; k < p.steps; ++k) {
          const uint32_t s = ring.stage;
          ptx::MbarrierWait(&shared.empty[s], ring.phase ^ 1);
          ptx::MbarrierArriveExpect(&shared.full[s],
                                    RowTile::kBytes + WeightTile::kBytes);
          ptx::TmaLoad3d(shared.x[s], &p.x, &shared.full[s], k * kStep, 0, row);
          ptx::TmaLoad3d(shared.weights[s], &p.weights, &shared.full[s],
                         k * kStep, 0, column);
          ring.Next();
        }
      }
    }
    __syncwarp();
    if (t.rows == 0) break;
  }
}

// One warpgroup: rows 64 w and on of each tile.
__device__ __forceinline__ void Consume(const Params& p, Shared& shared,
                                        int w) {
  using A = tile::RowOperand<kTileRows, kStep>;
  using B = tile::RowOperand<kTileColumns, kStep>;
  const int lane = threadIdx.x % 32;
  tile::RingPosition<kStages> ring;
  tile::RingPosition<2> slot;
  while (true) {
    ptx::MbarrierWait(&shared.tile_full[slot.stage], slot.phase);
    const tile::PackedTile t = shared.tiles[slot.stage];
    ptx::MbarrierArrive(&shared.tile_empty[slot.stage]);
    slot.Next();
    if (t.rows == 0) break;
    float y[kTileColumns / 2];
    uint32_t previous = 0;
    for (int k = 0; k < p.steps; ++k) {
      const uint32_t s = ring.stage;
      ptx::MbarrierWait(&shared.full[s], ring.phase);
      const uint64_t a = A::Descriptor(ptx::SharedAddress(shared.x[s]) +
                                       w * 64 * tile::kPanelRowBytes);
      const uint64_t b = B::Descriptor(ptx::SharedAddress(shared.weights[s]));
      ptx::FenceRegisters(y);
      ptx::WgmmaFence();
#pragma unroll
      for (int i = 0; i < A::kSteps; ++i) {
        ptx::Wgmma<kTileColumns>::Shared<0, B::kTranspose>(
            y, ptx::Advance(a, A::Step(i)), ptx::Advance(b, B::Step(i)),
            k > 0 || i > 0);
      }
      ptx::WgmmaCommit();
      ptx::WgmmaWait<1>();
      // The step before this one is done.
      if (k > 0 && lane == 0) ptx::MbarrierArrive(&shared.empty[previous]);
      previous = s;
      ring.Next();
    }
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(y);
    if (lane == 0) ptx::MbarrierArrive(&shared.empty[previous]);

    const int row =
        t.block * kTileRows + 64 * w + threadIdx.x / 32 % 4 * 16 + lane / 4;
    const int column = t.head * kTileColumns + lane % 4 * 8;
    __nv_bfloat16* out =
        p.a.y + (int64_t{t.row_start} + row) * p.a.out + column;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool valid = row + 8 * r < t.rows;
#pragma unroll
      for (int i = 2 * r; i < kTileColumns / 2; i += 16) {
        const uint4 v = tile::TransposeQuad(
            ptx::PackBf16(y[i], y[i + 1]), ptx::PackBf16(y[i + 4], y[i + 5]),
            ptx::PackBf16(y[i + 8], y[i + 9]),
            ptx::PackBf16(y[i + 12], y[i + 13]), lane);
        if (valid && column + i / 16 * 32 < p.a.out) {
          *reinterpret_cast<uint4*>(out + int64_t{8 * r} * p.a.out +
                                    i / 16 * 32) = v;
        }
      }
    }
  }
}

__global__ __launch_bounds__(384, 1) void GroupedGemmKernel(
    const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      ptx::MbarrierInit(&shared.full[s], 1);
      ptx::MbarrierInit(&shared.empty[s], 8);
    }
    for (int s = 0; s < 2; ++s) {
      ptx::MbarrierInit(&shared.tile_full[s], 1);
      ptx::MbarrierInit(&shared.tile_empty[s], 256);
    }
    ptx::FenceMbarrierInit();
    ptx::PrefetchTensorMap(&p.x);
    ptx::PrefetchTensorMap(&p.weights);
  }
  __syncthreads();
  // Uniform over a warp, and known to be.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    ptx::DecreaseRegisters<40>();
    if (threadIdx.x < 32) Produce(p, shared);
  } else {
    ptx::IncreaseRegisters<232>();
    Consume(p, shared, warpgroup - 1);
  }
}

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
  static_assert(sizeof(Shared) <= 227 * 1024);
  Params p;
  p.a = args;
  p.steps = static_cast<int>(cuda::CeilDiv(args.in, kStep));
  p.column_tiles = static_cast<int>(cuda::CeilDiv(args.out, kTileColumns));
  INTARSIA_RETURN_IF_CUDA_ERROR(tile::EncodePanelMap(
      &p.x, args.x, args.rows, 1, args.in, args.in, args.in, kTileRows));
  INTARSIA_RETURN_IF_CUDA_ERROR(tile::EncodePanelMap(
      &p.weights, args.weights, int64_t{args.experts} * args.out, 1, args.in,
      args.in, args.in, kTileColumns));
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  const int64_t most =
      (cuda::CeilDiv(args.rows, kTileRows) + args.experts) * p.column_tiles;
  const cuda::LaunchShape shape = {
      .grid =
          dim3(static_cast<unsigned>(std::min<int64_t>(multiprocessors, most))),
      .block = dim3(384),
      .shared_bytes = sizeof(Shared),
      .stream = stream};
  return cuda::Launch(GroupedGemmKernel, shape, p);
}

}  // namespace intarsia
