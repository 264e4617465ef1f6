// The scores of one chunk, of the kernel that sm90_retention_walk.cuh
// describes.
#pragma once

#include "intarsia/cuda/ptx/exp2.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/rows.cuh"
#include "intarsia/mixers/retention/sm90_retention_walk.cuh"

namespace intarsia::sm90 {

// P[n][m] = read_scale write_scale g^|n - m| (q_n . k_m) for the m that n
// sees, else 0; by one warpgroup. Multiply leaves nothing in flight; Finish
// may come when P's buffer is free.
template <class C>
class WalkScores {
 public:
  using Shared = WalkShared<C>;

  __device__ __forceinline__ void Multiply(const uint8_t* q, const uint8_t* k) {
    using Operand = tile::RowOperand<kWalkChunk, C::kInner>;
    const uint64_t a = Operand::Descriptor(ptx::SharedAddress(q));
    const uint64_t b = Operand::Descriptor(ptx::SharedAddress(k));
    ptx::FenceRegisters(s_);
    ptx::WgmmaFence();
#pragma unroll
    for (int i = 0; i < Operand::kSteps; ++i) {
      ptx::Wgmma<kWalkChunk>::template Shared<0, 0>(
          s_, ptx::Advance(a, Operand::Step(i)),
          ptx::Advance(b, Operand::Step(i)), i > 0);
    }
    ptx::WgmmaCommit();
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(s_);
  }

  // `valid`: tokens of the chunk. P is written for the tensor cores to read.
  __device__ __forceinline__ void Finish(const WalkParams& p, float log2_decay,
                                         int valid, uint8_t* scores) {
    int lane = threadIdx.x % 32;
    // What follows from it is computed here, not kept across chunks: registers
    // are scarce.
    asm volatile("" : "+r"(lane));
    const int warp_row = threadIdx.x / 32 % 4 * 16;
    // Columns relative to the thread's first, 2 (lane % 4).
    const int row = warp_row + lane / 4 - 2 * (lane % 4);
    const float slope = p.reverse ? log2_decay : -log2_decay;
    const float scale = p.read_scale * p.write_scale;
    float offset[2];
    int low[2], high[2];  // columns seen by the two rows, inclusive
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      offset[r] = -slope * (row + 8 * r);
      low[r] = p.reverse ? row + 8 * r : -kWalkChunk;
      high[r] = p.reverse ? valid - 1 - 2 * (lane % 4) : row + 8 * r;
    }
#pragma unroll
    for (int j = 0; j < kWalkChunk / 2; ++j) {
      const int r = tile::RowOf(j), column = tile::ColumnOf(j);
      const float decay = ptx::Exp2(fmaf(slope, column, offset[r]));
      const bool seen = column >= low[r] && column <= high[r];
      s_[j] = seen ? s_[j] * scale * decay : 0.0f;
    }
    using Tile = typename Shared::ScoreTile;
    const uint32_t base = ptx::SharedAddress(scores);
#pragma unroll
    for (int i = 0; i < kWalkChunk / 2; i += 8) {
      ptx::StoreMatrix4(
          base + Tile::Chunk(warp_row + lane % 16, i / 4 + lane / 16),
          ptx::PackBf16(s_[i], s_[i + 1]), ptx::PackBf16(s_[i + 2], s_[i + 3]),
          ptx::PackBf16(s_[i + 4], s_[i + 5]),
          ptx::PackBf16(s_[i + 6], s_[i + 7]));
    }
    ptx::FenceProxyAsync();
  }

 private:
  float s_[kWalkChunk / 2];
};

}  // namespace intarsia::sm90
