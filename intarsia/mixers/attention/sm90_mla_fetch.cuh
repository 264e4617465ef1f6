// The state that the warpgroups of sm90_mla_decode.cu share, and the thread
// that fetches latents.
#pragma once

#include "intarsia/cuda/ptx/cluster.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/tile/swizzle.cuh"
#include "intarsia/mixers/attention/sm90_mla_decode.h"

namespace intarsia::mla {

inline constexpr int kRows = 64;  // of a block
inline constexpr int kTile = 64;  // latents
inline constexpr int kStages = 3;
inline constexpr int kKey = kMlaKeyChannels, kValue = kMlaValueChannels;
// Multiprocessors of the largest Hopper.
inline constexpr int kMostBlocks = 144;
// What beginning a sequence costs a worker, in tiles.
inline constexpr int kStartCost = 5;
using LatentTile = tile::PanelTile<kTile, kKey>;
using Panel = tile::PanelTile<kTile, tile::kPanelColumns>;
inline constexpr int kThirds = 3;  // of a tile, three panels each, arrive apart
inline constexpr uint32_t kRotated = 8 * LatentTile::kPanelBytes;  // its offset

// A worker's share as the plan has it: from tile `begin` of one sequence to
// before tile `last_end` of another; last_sequence is -1 if there is nothing.
struct alignas(16) WorkerRange {
  int sequence, begin, last_sequence, last_end;
  int length;  // of the first sequence
  int unused[3];
};

struct Params {
  CUtensorMap pages;
  Sm90MlaDecodeArgs a;
  float scale_log2;
  int page_shift;
  int box_rows;    // of one copy
  int box_panels;  // of 64 channels
  int rows;        // query_tokens x heads
  int workers;
  const WorkerRange* ranges;  // of each worker
  const int2* worker_of;      // of each sequence: the first and the last, or -1
  float* partial_out;         // [grid.y, workers, 2, kCluster, kRows, kValue]
  float* partial_lse;         // the same without kValue
};

__device__ __forceinline__ int TilesOf(int length) {
  return (length + kTile - 1) / kTile;
}

// What lies in a buffer; set by whoever fetches it.
struct TileInfo {
  int sequence;  // -1: no more tiles
  int length;    // of the sequence
  int number;    // of the tile in the sequence
  int part;      // 4 x the part's slot in the workspace (-1: the sequence is
                 // whole) + 2 with its last tile + 1 with its first

  __device__ __forceinline__ bool first() const { return part & 1; }
  __device__ __forceinline__ bool last() const { return part & 2; }
  __device__ __forceinline__ int slot() const { return part >> 2; }
};

// The tile to fetch next and what comes after it: tiles [number, end) of
// `sequence`, which began with `begin`, then sequences to the range's end.
struct Fetch {
  TileInfo info;
  int page[kTile / 16];  // of each copy's rows
  int sequence, number, begin, end;
};

struct Shared {
  alignas(1024) uint8_t latents[kStages][LatentTile::kBytes];
  alignas(1024) uint8_t q_rotated[Panel::kBytes];
  // Channels 496 to 511 of Q: one step more than the registers hold.
  alignas(128) uint8_t q_step[kRows * 16 * 2];
  float scale[kStages][kRows];  // of O, before this tile is added
  bool rescale[kStages][4];     // whether `scale` counts, for a warp's 16 rows
  TileInfo info[kStages];
  Fetch fetch;
  uint64_t full[kStages][kThirds];
  uint64_t empty[kStages];
  uint64_t weights[kStages];
};

// By one thread: Prepare finds the next tile, Issue fetches it into buffer s,
// which is free.
template <int kCluster>
class Fetcher {
 public:
  __device__ __forceinline__ Fetcher(const Params& p, Shared& shared)
      : p_(p), shared_(shared), f_(shared.fetch) {}

  __device__ __forceinline__ void Start() {
    const WorkerRange first = range();
    f_.sequence = first.sequence;
    f_.info.length = first.length;
    f_.begin = f_.number = first.begin;
    f_.end = PartEnd(first);
  }

  __device__ __forceinline__ void Prepare() {
    if (f_.number == f_.end && !NextPart()) {
      f_.info.sequence = -1;
      return;
    }
    const int number = f_.number++;
    const int length = f_.info.length;
    const int worker = blockIdx.x / kCluster;
    const int slot = f_.begin > 0               ? 2 * worker
                     : f_.end < TilesOf(length) ? 2 * worker + 1
                                                : -1;
    f_.info = {f_.sequence, length, number,
               4 * slot + 2 * (number + 1 == f_.end) + (number == f_.begin)};
    // Rows past the sequence are whatever its last page holds, or rows of it
    // again: their scores are masked and their values cleared.
    const int32_t* table =
        p_.a.page_table + int64_t{f_.sequence} * p_.a.page_table_stride;
#pragma unroll
    for (int i = 0; i < kTile / 16; ++i) {
      const int token = min(number * kTile + i * p_.box_rows, length - 1);
      if (i * p_.box_rows < kTile) f_.page[i] = table[token >> p_.page_shift];
    }
    if (number != f_.begin) return;
    // Its queries are wanted soon.
    const int block_rows =
        (blockIdx.y * kCluster + blockIdx.x % kCluster) * kRows;
    ptx::BulkPrefetch(
        p_.a.q + (int64_t{f_.sequence} * p_.rows + block_rows) * kKey,
        min(kRows, p_.rows - block_rows) * kKey * 2);
  }

  __device__ __forceinline__ void Issue(uint32_t s) {
    const TileInfo info = f_.info;
    shared_.info[s] = info;
    if (info.sequence < 0) {
      ptx::MbarrierArrive(&shared_.full[s][0]);
      return;
    }
#pragma unroll
    for (int i = 0; i < kThirds; ++i) {
      ptx::MbarrierArriveExpect(&shared_.full[s][i],
                                LatentTile::kBytes / kThirds);
    }
    for (int i = 0; i * p_.box_rows < kTile; ++i) {
      CopyRows(s, info.number, i);
    }
  }

 private:
  // Blocks of a cluster take turns.
  __device__ __forceinline__ static bool Mine(int i) {
    return kCluster == 1 || i % 2 == static_cast<int>(ptx::ClusterRank());
  }
  __device__ __forceinline__ void CopyRows(uint32_t s, int number,
                                           int i) const {
    const int page = f_.page[i];
    const int row = (number * kTile + i * p_.box_rows) & (p_.a.page_size - 1);
    uint8_t* to = shared_.latents[s] + i * p_.box_rows * tile::kPanelRowBytes;
#pragma unroll 1
    for (int c = 0; c < LatentTile::kPanels; c += p_.box_panels) {
      if (!Mine(number + c)) continue;
      uint64_t* full = &shared_.full[s][c / 3];
      if constexpr (kCluster > 1) {
        ptx::TmaLoad4dMulticast(to + c * LatentTile::kPanelBytes, &p_.pages,
                                full, 0, row, c, page, (1 << kCluster) - 1);
      } else {
        ptx::TmaLoad4d(to + c * LatentTile::kPanelBytes, &p_.pages, full, 0,
                       row, c, page);
      }
    }
  }

  __device__ __forceinline__ const WorkerRange& range() const {
    return p_.ranges[blockIdx.x / kCluster];
  }
  __device__ __forceinline__ int PartEnd(const WorkerRange& range) const {
    return f_.sequence == range.last_sequence ? range.last_end
                                              : TilesOf(f_.info.length);
  }
  __device__ __forceinline__ bool NextPart() {
    while (f_.sequence < range().last_sequence) {
      ++f_.sequence;
      f_.info.length = p_.a.kv_lengths[f_.sequence];
      f_.begin = f_.number = 0;
      f_.end = PartEnd(range());
      if (f_.number < f_.end) return true;
    }
    return false;
  }

  const Params& p_;
  Shared& shared_;
  Fetch& f_;
};

}  // namespace intarsia::mla
