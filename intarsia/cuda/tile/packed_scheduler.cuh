// Persistent scheduling over packed sequences of unlike lengths. Work is
// numbered sequence after sequence; inside a sequence in groups of heads whose
// keys and values fit the L2 cache together, and inside a group by block of
// rows: from the last (with a causal mask the longest for blocks of queries) or
// from the first (the longest for blocks of keys). Blocks of the grid take the
// next number from a counter in device memory when they are free.
#pragma once

#include <cstdint>

namespace intarsia::tile {

struct PackedTile {
  int32_t row_start;  // of the sequence, in the packed rows
  int32_t rows;       // of the sequence; 0: no work is left
  int32_t sequence;
  int32_t head;
  int32_t block;  // of kBlockRows rows, in the sequence
};

// Held by one warp, all lanes alike. Numbers passed to Find must not decrease.
template <int kBlockRows, bool kLastFirst = true>
class PackedScheduler {
 public:
  // cu_rows: [sequences + 1], device memory.
  __device__ __forceinline__ PackedScheduler(const int32_t* cu_rows,
                                             int sequences, int heads,
                                             int heads_per_group)
      : cu_rows_(cu_rows),
        sequences_(sequences),
        heads_(heads),
        group_(heads_per_group) {}

  __device__ __forceinline__ PackedTile Find(int number) {
    const int lane = threadIdx.x % 32;
    // 32 sequences at a time: the first whose inclusive count passes `number`.
    while (base_sequence_ < sequences_) {
      const int sequence = min(base_sequence_ + lane, sequences_);
      const int start = cu_rows_[sequence];
      const int rows = cu_rows_[min(sequence + 1, sequences_)] - start;
      const int blocks = (rows + kBlockRows - 1) / kBlockRows;
      int count = blocks * heads_;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(~0u, count, step);
        if (lane >= step) count += other;
      }
      const unsigned found = __ballot_sync(~0u, base_number_ + count > number);
      if (found != 0) {
        const int source = __ffs(found) - 1;
        const int before = __shfl_sync(~0u, count - blocks * heads_, source);
        PackedTile tile;
        tile.row_start = __shfl_sync(~0u, start, source);
        tile.rows = __shfl_sync(~0u, rows, source);
        tile.sequence = base_sequence_ + source;
        Place(number - base_number_ - before, __shfl_sync(~0u, blocks, source),
              &tile);
        return tile;
      }
      base_number_ += __shfl_sync(~0u, count, 31);
      base_sequence_ += 32;
    }
    return {0, 0, 0, 0, 0};
  }

  // How much work there is; known once Find has returned a tile without rows.
  __device__ __forceinline__ int total() const { return base_number_; }

 private:
  __device__ __forceinline__ void Place(int rest, int blocks,
                                        PackedTile* tile) const {
    const int group = rest / (group_ * blocks);
    rest -= group * group_ * blocks;
    const int size = min(group_, heads_ - group * group_);
    const int index = rest / size;
    tile->head = group * group_ + rest - index * size;
    tile->block = kLastFirst ? blocks - 1 - index : index;
  }

  const int32_t* cu_rows_;
  int sequences_, heads_, group_;
  int base_sequence_ = 0, base_number_ = 0;
};

// The counter: zero before the first launch that uses it; each launch leaves
// it zero again, so launches on one stream may share it. A block's first
// number is its blockIdx.x. Every block takes exactly one number past the end
// (`total` work items), and whoever takes the last of them resets.
__device__ __forceinline__ int TakeNumber(int32_t* counter) {
  return static_cast<int>(gridDim.x) + atomicAdd(counter, 1);
}

}  // namespace intarsia::tile
