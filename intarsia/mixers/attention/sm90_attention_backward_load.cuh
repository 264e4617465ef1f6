// The producer half of the attention backward kernel: what a tile is, the
// shared memory of a block, and the two warps that find tiles and load them.
// sm90_attention_backward.cuh has the picture.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/tile/packed_scheduler.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/swizzle.cuh"
#include "intarsia/mixers/attention/sm90_attention_padding.cuh"

namespace intarsia::sm90 {

struct BackwardParams {
  CUtensorMap q, k, v, dout;
  // By query heads: where several share a key/value head, what each adds.
  __nv_bfloat16* dk;
  __nv_bfloat16* dv;
  const int32_t* cu_q;
  const int32_t* cu_k;
  int32_t* counter;
  float* dq_sum;       // [heads, padded_rows, head_dim], see Padding
  const float* lse;    // [heads, padded_rows], base 2; +inf: P is 0
  const float* delta;  // [heads, padded_rows], rowsum(dO out)
  int64_t dk_row_stride, dk_head_stride, dv_row_stride, dv_head_stride;
  int sequences, heads, heads_per_kv, heads_per_group, padded_rows;
  float scale, scale_log2;
  int window_left;
  bool causal;
};

struct BackwardTile {
  int32_t q_start, q_len, k_start, k_len, head;  // a query head
  int32_t key;         // first of the tile, in its sequence
  int32_t padded_row;  // of the sequence's first query; a multiple of a block
  int32_t begin, end;  // query blocks that see a key of the tile
};

// The order in which a tile meets its query blocks: downward, so that tiles
// that run together read the same Q and dO; from a start that differs between
// tiles by up to `spread` blocks, so that they do not all add to the same block
// of dQ at once.
class QueryOrder {
 public:
  // Query blocks [begin, end); `tile` numbers the key blocks.
  __device__ __forceinline__ QueryOrder(int begin, int end, int tile,
                                        int spread)
      : left_(end - begin), block_(end - 1 - tile % min(end - begin, spread)) {}
  __device__ __forceinline__ bool done() const { return left_ == 0; }
  __device__ __forceinline__ int block() const { return block_; }
  // The same numbers again: callers know where they are cheapest to keep.
  __device__ __forceinline__ void Next(int begin, int end) {
    --left_;
    if (--block_ < begin) block_ = end - 1;
  }

 private:
  int left_, block_;
};

// kBlockQueries: queries a step. kStages: of Q and of dO. kCopyDq: dQ goes to
// memory through the copy engine, not by the threads. kSpread: see QueryOrder.
template <class C>
struct BackwardShared {
  static constexpr int kKeys = 128;
  using QTile = tile::PanelTile<C::kBlockQueries, C::kHeadDim>;
  using KvTile = tile::PanelTile<kKeys, C::kHeadDim>;
  using DsTile = tile::PanelTile<C::kBlockQueries, kKeys>;

  alignas(1024) uint8_t k[KvTile::kBytes];
  alignas(1024) uint8_t v[KvTile::kBytes];
  alignas(1024) uint8_t q[C::kStages][QTile::kBytes];
  alignas(1024) uint8_t dout[C::kStages][QTile::kBytes];
  alignas(1024) uint8_t ds[2][DsTile::kBytes];
  alignas(128) float dq[C::kCopyDq ? 8 : 1]
                       [C::kCopyDq ? C::kBlockQueries * C::kHeadDim / 8 : 4];
  alignas(128) float lse[C::kStages][C::kBlockQueries];
  alignas(128) float delta[C::kStages][C::kBlockQueries];
  uint64_t k_full, v_full, kv_empty;
  uint64_t q_full[C::kStages], q_empty[C::kStages];
  uint64_t dout_full[C::kStages], dout_empty[C::kStages];
  uint64_t ds_full[2], ds_empty[2];
  uint64_t tile_full[2], tile_empty[2];
  BackwardTile tiles[2];
};

// Two warps, so that each gets by with few registers: one finds tiles and
// announces them, the other loads.
template <class C>
class BackwardScheduler {
 public:
  using Shared = BackwardShared<C>;
  static constexpr int kQueries = C::kBlockQueries;
  static constexpr int kKeys = Shared::kKeys;

  __device__ __forceinline__ BackwardScheduler(const BackwardParams& p,
                                               Shared& shared)
      : p_(p), shared_(shared) {}

  __device__ __forceinline__ void Run() {
    const bool leader = threadIdx.x % 32 == 0;
    tile::PackedScheduler<kKeys, false> scheduler(p_.cu_k, p_.sequences,
                                                  p_.heads, p_.heads_per_group);
    tile::RingPosition<2> slot;
    int number = blockIdx.x;
    while (true) {
      const tile::PackedTile found = scheduler.Find(number);
      int next = 0;
      if (leader) {
        if (found.rows > 0) next = tile::TakeNumber(p_.counter);
        ptx::MbarrierWait(&shared_.tile_empty[slot.stage], slot.phase ^ 1);
        Describe(found, &shared_.tiles[slot.stage]);
        ptx::MbarrierArrive(&shared_.tile_full[slot.stage]);
      }
      __syncwarp();
      slot.Next();
      if (found.rows == 0) break;
      number = __shfl_sync(~0u, next, 0);
    }
    // The last number that any block can get: nobody reads the counter again.
    if (leader && number == scheduler.total() + int(gridDim.x) - 1) {
      *p_.counter = 0;
    }
  }

 private:
  __device__ __forceinline__ void Describe(const tile::PackedTile& found,
                                           BackwardTile* t) const {
    t->k_len = found.rows;
    if (found.rows == 0) return;
    const int q_start = p_.cu_q[found.sequence];
    const int q_len = p_.cu_q[found.sequence + 1] - q_start;
    t->q_start = q_start;
    t->q_len = q_len;
    t->k_start = found.row_start;
    t->head = found.head;
    t->key = found.block * kKeys;
    t->padded_row = Padding<kQueries>::Row(q_start, found.sequence);
    const int first_key = found.block * kKeys - (found.rows - q_len);
    const int last_key =
        min(first_key + kKeys - 1, q_len - 1);  // as a query's position
    const int begin = p_.causal ? max(0, first_key) : 0;
    int end = q_len;
    if (p_.window_left >= 0) end = min(end, last_key + p_.window_left + 1);
    t->end = (max(end, 0) + kQueries - 1) / kQueries;
    t->begin = min(begin / kQueries, t->end);
  }

  const BackwardParams& p_;
  Shared& shared_;
};

template <class C>
class BackwardLoader {
 public:
  using Shared = BackwardShared<C>;
  static constexpr int kQueries = C::kBlockQueries;

  __device__ __forceinline__ BackwardLoader(const BackwardParams& p,
                                            Shared& shared)
      : p_(p), shared_(shared) {}

  // By one thread.
  __device__ __forceinline__ void Run() {
    tile::RingPosition<2> slot;
    while (true) {
      ptx::MbarrierWait(&shared_.tile_full[slot.stage], slot.phase);
      const BackwardTile& t = shared_.tiles[slot.stage];
      if (t.k_len == 0) break;
      if (t.begin < t.end) Load(t);
      ptx::MbarrierArrive(&shared_.tile_empty[slot.stage]);
      slot.Next();
    }
  }

 private:
  using QTile = typename Shared::QTile;
  using KvTile = typename Shared::KvTile;

  __device__ __forceinline__ void Load(const BackwardTile& t) {
    ptx::MbarrierWait(&shared_.kv_empty, phase_ ^ 1);
    phase_ ^= 1;
    const int kv_head = t.head / p_.heads_per_kv;
    LoadPanels<KvTile>(&p_.k, shared_.k, &shared_.k_full, 0, kv_head,
                       t.k_start + t.key);
    LoadPanels<KvTile>(&p_.v, shared_.v, &shared_.v_full, 0, kv_head,
                       t.k_start + t.key);
    for (QueryOrder order(t.begin, t.end, t.key / 128, C::kSpread);
         !order.done(); order.Next(t.begin, t.end)) {
      const int row = order.block() * kQueries;
      const int padded = t.head * p_.padded_rows + t.padded_row + row;
      const uint32_t s = ring_.stage;
      ptx::MbarrierWait(&shared_.q_empty[s], ring_.phase ^ 1);
      ptx::BulkLoad(shared_.lse[s], p_.lse + padded, kQueries * 4,
                    &shared_.q_full[s]);
      LoadPanels<QTile>(&p_.q, shared_.q[s], &shared_.q_full[s], kQueries * 4,
                        t.head, t.q_start + row);
      ptx::MbarrierWait(&shared_.dout_empty[s], ring_.phase ^ 1);
      ptx::BulkLoad(shared_.delta[s], p_.delta + padded, kQueries * 4,
                    &shared_.dout_full[s]);
      LoadPanels<QTile>(&p_.dout, shared_.dout[s], &shared_.dout_full[s],
                        kQueries * 4, t.head, t.q_start + row);
      ring_.Next();
    }
  }

  // `more`: bytes that another copy brings to the same barrier.
  template <class Tile>
  __device__ __forceinline__ static void LoadPanels(const CUtensorMap* map,
                                                    uint8_t* destination,
                                                    uint64_t* full,
                                                    uint32_t more, int head,
                                                    int row) {
    ptx::MbarrierArriveExpect(full, Tile::kBytes + more);
#pragma unroll
    for (int c = 0; c < Tile::kPanels; ++c) {
      ptx::TmaLoad3d(destination + c * Tile::kPanelBytes, map, full,
                     c * tile::kPanelColumns, head, row);
    }
  }

  const BackwardParams& p_;
  Shared& shared_;
  tile::RingPosition<C::kStages> ring_;
  uint32_t phase_ = 0;
};

}  // namespace intarsia::sm90
