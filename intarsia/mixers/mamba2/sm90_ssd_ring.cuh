// How the SSD's kernels that walk over chunks are fed: what a block works on,
// the ring of buffers in shared memory, and the warps that fill it.
#pragma once

#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_chunk.cuh"

namespace intarsia::sm90 {

// A unit (a sequence or a segment of one) and some heads of a group.
struct SsdUnitWork {
  SsdUnit unit;
  int number;        // of the unit
  int row;           // first
  int rows, chunks;  // of the unit
  int chunk_number;  // of its first chunk
  int head, group;   // first head

  // Blocks of one unit, of `tokens`, have numbers that follow each other.
  __device__ __forceinline__ SsdUnitWork(const SsdProblem& p, int tokens,
                                         uint32_t block, int heads_per_block) {
    const int blocks = p.heads / heads_per_block;
    number = block / blocks;
    head = block % blocks * heads_per_block;
    group = head / (p.heads / p.groups);
    unit = FindSsdUnit(p.packing, tokens, number);
    const int first = unit.block * tokens;
    row = Uniform(unit.start + first);
    rows = Uniform(min(tokens, unit.rows - first));
    chunks = (rows + kSsdChunk - 1) / kSsdChunk;
    chunk_number = unit.start / kSsdChunk + unit.sequence + first / kSsdChunk;
  }
};

// By one thread; a fence (FenceMbarrierInit) and a block barrier follow.
// `producers` arrive on a full barrier, `consumers` on an empty one: threads,
// since each that wrote or read a table there arrives for itself.
template <int kStages>
__device__ __forceinline__ void SsdInitRing(uint64_t (&full)[kStages],
                                            uint64_t (&empty)[kStages],
                                            int producers, int consumers) {
#pragma unroll
  for (int s = 0; s < kStages; ++s) {
    ptx::MbarrierInit(&full[s], producers);
    ptx::MbarrierInit(&empty[s], consumers);
  }
}

// A chunk of B or C from row `row` on, by one thread. WideTile::kBytes are to
// be announced on `full`.
template <class WideTile>
__device__ __forceinline__ void SsdLoadWide(uint8_t* to, const CUtensorMap* map,
                                            uint64_t* full, int group,
                                            int row) {
#pragma unroll
  for (int i = 0; i < WideTile::kPanels; ++i) {
    ptx::TmaLoad3d(to + i * WideTile::kPanelBytes, map, full,
                   i * tile::kPanelColumns, group, row);
  }
}

// The decays of one head in all chunks of a unit, by one warp: once the
// buffer is free, store(stage, sums of a chunk) writes them there.
template <int kStages, class Store>
__device__ __forceinline__ void SsdProduceDecays(
    const SsdSteps& steps, const SsdUnitWork& work, int head, bool reverse,
    uint64_t (&full)[kStages], uint64_t (&empty)[kStages], Store&& store) {
  const float a = steps.a[head] * 1.44269504089f;
  const float bias = steps.bias == nullptr ? 0.0f : steps.bias[head];
  tile::RingPosition<kStages> ring;
  SsdStepQueue<4> queue(steps, head, work.row, work.rows, reverse);
  for (int k = 0; k < work.chunks; ++k, ring.Next()) {
    const int chunk = reverse ? work.chunks - 1 - k : k;
    const SsdSums sums = SsdSumSteps(steps, queue.Take(),
                                     work.rows - chunk * kSsdChunk, bias, a);
    ptx::MbarrierWait(&empty[ring.stage], ring.phase ^ 1);
    store(ring.stage, sums);
    ptx::MbarrierArrive(&full[ring.stage]);
  }
}

}  // namespace intarsia::sm90
