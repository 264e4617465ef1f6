// What the products on Hopper share. A persistent grid: a block is one producer
// warp and two consumer warpgroups of 64 rows each, which share a tile of 128
// rows x kTileColumns columns. The producer streams 64 channels of rows and
// weights at a time through a ring of buffers, on to the next tile while the
// consumers store. A tile that reaches past its group multiplies a neighbour's
// rows and does not store them.
#pragma once

#include <cuda_bf16.h>

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
#include "intarsia/cuda/tile/tensor_map.h"

namespace intarsia::gemm {

constexpr int kTileRows = 128, kStep = 64;
constexpr int kColumnsOfGroup = 8;  // in tiles

template <int kTileColumns>
constexpr int kStagesOf = kTileColumns >= 256   ? 4
                          : kTileColumns >= 192 ? 5
                                                : 6;

using RowTile = tile::PanelTile<kTileRows, kStep>;
template <int kTileColumns>
using WeightTile = tile::PanelTile<kTileColumns, kStep>;

// Y: bf16 or float.
template <typename Y>
struct Params {
  CUtensorMap x, weights;
  const int32_t* row_starts;  // of groups; null: one group of all rows
  const float* bias;          // [out] of every group, or null
  Y* y;                       // [rows, out]
  int rows, groups, out;
  int steps;         // of 64 channels
  int column_tiles;  // of a group
};

template <int kTileColumns>
struct Shared {
  static constexpr int kStages = kStagesOf<kTileColumns>;
  alignas(1024) uint8_t x[kStages][RowTile::kBytes];
  alignas(1024) uint8_t weights[kStages][WeightTile<kTileColumns>::kBytes];
  uint64_t full[kStages], empty[kStages];
  uint64_t tile_full[2], tile_empty[2];
  tile::PackedTile tiles[2];  // rows 0: no more
};

// As tile::PackedScheduler, of one group whose rows the host knows.
class DenseScheduler {
 public:
  __device__ DenseScheduler(int rows, int column_tiles)
      : rows_(rows),
        blocks_((rows + kTileRows - 1) / kTileRows),
        columns_(column_tiles) {}
  __device__ __forceinline__ tile::PackedTile Find(int number) const {
    if (number >= blocks_ * columns_) return {0, 0, 0, 0, 0};
    const int group = number / (kColumnsOfGroup * blocks_);
    const int rest = number - group * kColumnsOfGroup * blocks_;
    const int size = min(kColumnsOfGroup, columns_ - group * kColumnsOfGroup);
    return {0, rows_, 0, group * kColumnsOfGroup + rest % size, rest / size};
  }

 private:
  int rows_, blocks_, columns_;
};

// By one warp.
template <int kTileColumns, typename Y, typename Scheduler>
__device__ __forceinline__ void Produce(const Params<Y>& p,
                                        Shared<kTileColumns>& shared,
                                        Scheduler scheduler) {
  constexpr int kStages = kStagesOf<kTileColumns>;
  const bool leader = threadIdx.x % 32 == 0;
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
        const int column = t.sequence * p.out + t.head * kTileColumns;
        for (int k = 0; k < p.steps; ++k) {
          const uint32_t s = ring.stage;
          ptx::MbarrierWait(&shared.empty[s], ring.phase ^ 1);
          ptx::MbarrierArriveExpect(
              &shared.full[s],
              RowTile::kBytes + WeightTile<kTileColumns>::kBytes);
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

// What a warpgroup keeps of its tile: value i of a thread stands in row
// i / 2 % 2 * 8 of its first and in column i / 4 * 8 + i % 2.
template <int kTileColumns, typename Y>
__device__ __forceinline__ void Store(const Params<Y>& p,
                                      const tile::PackedTile& t, int w,
                                      float (&y)[kTileColumns / 2]) {
  const int lane = threadIdx.x % 32;
  const int row =
      t.block * kTileRows + 64 * w + threadIdx.x / 32 % 4 * 16 + lane / 4;
  if (p.bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kTileColumns / 2; ++i) {
      const int c = t.head * kTileColumns + i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (c < p.out) y[i] += p.bias[c];
    }
  }
  if constexpr (sizeof(Y) == 4) {
    float* out = p.y + (int64_t{t.row_start} + row) * p.out;
#pragma unroll
    for (int i = 0; i < kTileColumns / 2; i += 2) {
      const int r = i / 2 % 2 * 8;
      const int c = t.head * kTileColumns + i / 4 * 8 + lane % 4 * 2;
      if (row + r < t.rows && c < p.out) {
        *reinterpret_cast<float2*>(out + int64_t{r} * p.out + c) =
            make_float2(y[i], y[i + 1]);
      }
    }
  } else {
    const int column = t.head * kTileColumns + lane % 4 * 8;
    __nv_bfloat16* out = p.y + (int64_t{t.row_start} + row) * p.out + column;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool valid = row + 8 * r < t.rows;
#pragma unroll
      for (int i = 2 * r; i < kTileColumns / 2; i += 16) {
        const uint4 v = tile::TransposeQuad(
            ptx::PackBf16(y[i], y[i + 1]), ptx::PackBf16(y[i + 4], y[i + 5]),
            ptx::PackBf16(y[i + 8], y[i + 9]),
            ptx::PackBf16(y[i + 12], y[i + 13]), lane);
        if (valid && column + i / 16 * 32 < p.out) {
          *reinterpret_cast<uint4*>(out + int64_t{8 * r} * p.out +
                                    i / 16 * 32) = v;
        }
      }
    }
  }
}

// One warpgroup: rows 64 w and on of each tile.
template <int kTileColumns, typename Y>
__device__ __forceinline__ void Consume(const Params<Y>& p,
                                        Shared<kTileColumns>& shared, int w) {
  using A = tile::RowOperand<kTileRows, kStep>;
  using B = tile::RowOperand<kTileColumns, kStep>;
  const int lane = threadIdx.x % 32;
  tile::RingPosition<kStagesOf<kTileColumns>> ring;
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
        ptx::Wgmma<kTileColumns>::template Shared<0, B::kTranspose>(
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
    Store<kTileColumns>(p, t, w, y);
  }
}

template <int kTileColumns, typename Y, bool kGrouped>
__global__ __launch_bounds__(384, 1) void GemmKernel(
    const __grid_constant__ Params<Y> p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared<kTileColumns>*>(memory);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStagesOf<kTileColumns>; ++s) {
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
    if (threadIdx.x < 32) {
      if constexpr (kGrouped) {
        Produce<kTileColumns>(
            p, shared,
            tile::PackedScheduler<kTileRows, false>(
                p.row_starts, p.groups, p.column_tiles, kColumnsOfGroup));
      } else {
        Produce<kTileColumns>(p, shared,
                              DenseScheduler(p.rows, p.column_tiles));
      }
    }
  } else {
    ptx::IncreaseRegisters<232>();
    Consume<kTileColumns>(p, shared, warpgroup - 1);
  }
}

// Fills p.x, p.weights, p.steps and p.column_tiles and launches.
template <int kTileColumns, typename Y, bool kGrouped>
cudaError_t Launch(Params<Y> p, const __nv_bfloat16* x, int64_t x_stride,
                   const __nv_bfloat16* weights, int in, cudaStream_t stream) {
  static_assert(sizeof(Shared<kTileColumns>) <= 227 * 1024);
  p.steps = static_cast<int>(cuda::CeilDiv(in, kStep));
  p.column_tiles = static_cast<int>(cuda::CeilDiv(p.out, kTileColumns));
  INTARSIA_RETURN_IF_CUDA_ERROR(tile::EncodePanelMap(
      &p.x, x, p.rows, 1, in, x_stride, x_stride, kTileRows));
  INTARSIA_RETURN_IF_CUDA_ERROR(
      tile::EncodePanelMap(&p.weights, weights, int64_t{p.groups} * p.out, 1,
                           in, in, in, kTileColumns));
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  const int64_t row_tiles = cuda::CeilDiv(p.rows, kTileRows);
  const int64_t most =
      (kGrouped ? row_tiles + p.groups : row_tiles) * p.column_tiles;
  const cuda::LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(
          most < multiprocessors ? most : multiprocessors)),
      .block = dim3(384),
      .shared_bytes = sizeof(Shared<kTileColumns>),
      .stream = stream};
  return cuda::Launch(GemmKernel<kTileColumns, Y, kGrouped>, shape, p);
}

}  // namespace intarsia::gemm
