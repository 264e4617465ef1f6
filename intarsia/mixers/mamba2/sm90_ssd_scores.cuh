// Scores of a chunk, shared by all heads of a group: G[i, j] = C_i . B_j for
// j <= i, in bf16, zero elsewhere and past the sequence's end. Written for one
// reader: 16-byte word q of thread t has the accumulators 8 q .. 8 q + 7 of
// G^T (rows are sources j, columns targets i), so that a warpgroup reads its
// values without conflicts.
#pragma once

#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_chunk.cuh"

namespace intarsia::sm90 {

inline constexpr uint32_t kSsdScoreBytes = kSsdChunk * kSsdChunk * 2;

struct SsdScoresParams {
  CUtensorMap b, c;
  SsdPacking packing;
  uint8_t* scores;  // [SsdUnits of chunks, groups, kSsdScoreBytes]
  int groups;
};

template <int kN>
struct SsdScoresShared {
  using Tile = tile::PanelTile<kSsdChunk, kN>;
  alignas(1024) uint8_t b[Tile::kBytes];
  alignas(1024) uint8_t c[Tile::kBytes];
  uint64_t full;
};

template <int kN>
__global__ __launch_bounds__(128) void SsdScoresKernel(
    const __grid_constant__ SsdScoresParams p) {
  using Tile = tile::PanelTile<kSsdChunk, kN>;
  using Operand = tile::RowOperand<kSsdChunk, kN>;
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<SsdScoresShared<kN>*>(memory);
  const int number = blockIdx.x / p.groups, group = blockIdx.x % p.groups;
  const SsdUnit unit = FindSsdUnit(p.packing, kSsdChunk, number);
  const int valid = unit.rows - unit.block * kSsdChunk;
  if (!unit.exists || valid <= 0) return;
  cudaTriggerProgrammaticLaunchCompletion();
  const int thread = threadIdx.x;
  if (thread == 0) {
    ptx::MbarrierInit(&shared.full, 1);
    ptx::FenceMbarrierInit();
    ptx::MbarrierArriveExpect(&shared.full, 2 * Tile::kBytes);
    const int row = unit.start + unit.block * kSsdChunk;
    for (int i = 0; i < Tile::kPanels; ++i) {
      ptx::TmaLoad3d(shared.b + i * Tile::kPanelBytes, &p.b, &shared.full,
                     i * tile::kPanelColumns, group, row);
      ptx::TmaLoad3d(shared.c + i * Tile::kPanelBytes, &p.c, &shared.full,
                     i * tile::kPanelColumns, group, row);
    }
  }
  __syncthreads();
  ptx::MbarrierWait(&shared.full, 0);

  float g[32];
  const uint64_t b = Operand::Descriptor(ptx::SharedAddress(shared.b));
  const uint64_t c = Operand::Descriptor(ptx::SharedAddress(shared.c));
  ptx::FenceRegisters(g);
  ptx::WgmmaFence();
#pragma unroll
  for (int k = 0; k < Operand::kSteps; ++k) {
    ptx::Wgmma<64>::Shared<0, 0>(g, ptx::Advance(b, Operand::Step(k)),
                                 ptx::Advance(c, Operand::Step(k)), k > 0);
  }
  ptx::WgmmaCommit();
  ptx::WgmmaWait<0>();
  ptx::FenceRegisters(g);

  const int source = thread / 32 * 16 + thread % 32 / 4;
  const int target = 2 * (thread % 4);
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int to = target + (i >> 2) * 8 + (i & 1);
    if (source + (i & 2) * 4 > to || to >= valid) g[i] = 0;
  }
  uint4* out = reinterpret_cast<uint4*>(
      p.scores + (int64_t{number} * p.groups + group) * kSsdScoreBytes);
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    out[q * 128 + thread] = {ptx::PackBf16(g[8 * q], g[8 * q + 1]),
                             ptx::PackBf16(g[8 * q + 2], g[8 * q + 3]),
                             ptx::PackBf16(g[8 * q + 4], g[8 * q + 5]),
                             ptx::PackBf16(g[8 * q + 6], g[8 * q + 7])};
  }
}

}  // namespace intarsia::sm90
