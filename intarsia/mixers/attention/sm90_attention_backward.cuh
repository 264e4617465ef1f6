// The main kernel behind sm90_attention_backward.h.
//
// A tile is 128 keys of one key/value head; its K and V stay in shared memory
// while Q and dO of every query block that sees them, of every query head of
// the group, stream past. Two warpgroups hold 64 keys each and work with keys
// as rows, so that P^T and dS^T come out of the tensor cores in the layout in
// which they go in again (A from registers):
//   S^T = K Q^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q
// dK and dV stay in registers. dQ needs the dS of both warpgroups: each writes
// its half to shared memory, and computes a half of dQ^T = K^T dS, which is
// added to an fp32 buffer in device memory. Its elements lie there in the
// order in which threads hold them; the last kernel puts them in place.
#pragma once

#include <algorithm>
#include <climits>

#include "intarsia/cuda/ptx/barrier.cuh"
#include "intarsia/cuda/ptx/exp2.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/reduce_add.cuh"
#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/packed_scheduler.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/rows.cuh"
#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/mixers/attention/sm90_attention_backward.h"
#include "intarsia/mixers/attention/sm90_attention_padding.cuh"

namespace intarsia::sm90 {

struct BackwardParams {
  CUtensorMap q, k, v, dout;
  __nv_bfloat16* dk;
  __nv_bfloat16* dv;
  const int32_t* cu_q;
  const int32_t* cu_k;
  int32_t* counter;
  float* dq_sum;       // [heads, padded_rows, head_dim], see Padding
  const float* lse;    // [heads, padded_rows], base 2; +inf: P is 0
  const float* delta;  // [heads, padded_rows], rowsum(dO out)
  int64_t dk_row_stride, dk_head_stride, dv_row_stride, dv_head_stride;
  int sequences, kv_heads, heads_per_kv, heads_per_group, padded_rows;
  float scale, scale_log2;
  int window_left;
  bool causal;
};

struct BackwardTile {
  int32_t q_start, q_len, k_start, k_len, kv_head;
  int32_t key;         // first of the tile, in its sequence
  int32_t padded_row;  // of the sequence's first query; a multiple of a block
  int32_t begin, end;  // query blocks that see a key of the tile
};

// kBlockQueries: queries a step. kStages: of Q and of dO.
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
  alignas(128) float lse[C::kStages][C::kBlockQueries];
  alignas(128) float delta[C::kStages][C::kBlockQueries];
  uint64_t k_full, v_full, kv_empty;
  uint64_t q_full[C::kStages], q_empty[C::kStages];
  uint64_t dout_full[C::kStages], dout_empty[C::kStages];
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
    tile::PackedScheduler<kKeys, false> scheduler(
        p_.cu_k, p_.sequences, p_.kv_heads, p_.heads_per_group);
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
    t->kv_head = found.head;
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
    LoadPanels<KvTile>(&p_.k, shared_.k, &shared_.k_full, 0, t.kv_head,
                       t.k_start + t.key);
    bool first = true;
    const int last_head = (t.kv_head + 1) * p_.heads_per_kv;
    for (int head = t.kv_head * p_.heads_per_kv; head < last_head; ++head) {
      for (int m = t.begin; m < t.end; ++m) {
        const uint32_t s = ring_.stage;
        ptx::MbarrierWait(&shared_.q_empty[s], ring_.phase ^ 1);
        LoadPanels<QTile>(&p_.q, shared_.q[s], &shared_.q_full[s], kQueries * 4,
                          head, t.q_start + m * kQueries);
        const int padded = head * p_.padded_rows + t.padded_row + m * kQueries;
        ptx::BulkLoad(shared_.lse[s], p_.lse + padded, kQueries * 4,
                      &shared_.q_full[s]);
        if (first) {
          LoadPanels<KvTile>(&p_.v, shared_.v, &shared_.v_full, 0, t.kv_head,
                             t.k_start + t.key);
          first = false;
        }
        ptx::MbarrierWait(&shared_.dout_empty[s], ring_.phase ^ 1);
        LoadPanels<QTile>(&p_.dout, shared_.dout[s], &shared_.dout_full[s],
                          kQueries * 4, head, t.q_start + m * kQueries);
        ptx::BulkLoad(shared_.delta[s], p_.delta + padded, kQueries * 4,
                      &shared_.dout_full[s]);
        ring_.Next();
      }
    }
  }

  // `more`: bytes that a further copy will bring to the same barrier.
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

// One of two warpgroups; w is 0 or 1.
template <class C>
class BackwardConsumer {
 public:
  using Shared = BackwardShared<C>;
  static constexpr int kQueries = C::kBlockQueries;
  static constexpr int kKeys = Shared::kKeys;
  static constexpr int kHeadDim = C::kHeadDim;

  __device__ __forceinline__ BackwardConsumer(const BackwardParams& p,
                                              Shared& shared, int w)
      : p_(p),
        shared_(shared),
        w_(w),
        lane_(threadIdx.x % 32),
        warp_row_(64 * w + threadIdx.x / 32 % 4 * 16),
        leader_(threadIdx.x % 32 == 0) {}

  __device__ __forceinline__ void Run() {
    tile::RingPosition<2> slot;
    while (true) {
      ptx::MbarrierWait(&shared_.tile_full[slot.stage], slot.phase);
      // Read where it lies, to spare registers; released after the last use.
      const BackwardTile& t = shared_.tiles[slot.stage];
      if (t.k_len == 0) break;
      Tile(t);
      __syncwarp();
      if (leader_) ptx::MbarrierArrive(&shared_.tile_empty[slot.stage]);
      slot.Next();
    }
  }

 private:
  using QTile = typename Shared::QTile;
  using KvTile = typename Shared::KvTile;
  using DsTile = typename Shared::DsTile;
  // dQ^T is 64 channels by all queries a warpgroup, or, with 64 channels in
  // all, 64 by half of the queries.
  static constexpr int kDqQueries = kHeadDim == 128 ? kQueries : kQueries / 2;
  using Scores = float[kQueries / 2];        // 64 keys x kQueries
  using Fragments = uint32_t[kQueries / 4];  // the same in bf16
  using Gradient = float[kHeadDim / 2];      // 64 keys x kHeadDim

  __device__ __forceinline__ void Tile(const BackwardTile& t) {
    Gradient dk, dv;
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) dk[i] = dv[i] = 0;
    const bool empty = t.begin >= t.end;
    if (!empty) Queries(t, dk, dv);
#pragma unroll
    for (float& x : dk) x *= p_.scale;
    Store(t, dv, p_.dv, p_.dv_row_stride, p_.dv_head_stride, empty);
    Store(t, dk, p_.dk, p_.dk_row_stride, p_.dk_head_stride, empty);
    if (!empty) {
      ptx::FenceProxyAsync();
      __syncwarp();
      if (leader_) ptx::MbarrierArrive(&shared_.kv_empty);
    }
  }

  __device__ __forceinline__ void Queries(const BackwardTile& t, Gradient& dk,
                                          Gradient& dv) {
    const bool ragged = t.k_len - t.key < kKeys;

    Scores s, dp;
    float dq[kDqQueries / 2];
    ptx::MbarrierWait(&shared_.k_full, phase_);
    if (ragged) ZeroRows<KvTile>(shared_.k, t.k_len - t.key);
    WaitQ(t, t.begin);
    MultiplyKq(s);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(s);
    ptx::MbarrierWait(&shared_.v_full, phase_);
    if (ragged) ZeroRows<KvTile>(shared_.v, t.k_len - t.key);
    phase_ ^= 1;

    int m = t.begin;
    int head = t.kv_head * p_.heads_per_kv;
    const int last_head = head + p_.heads_per_kv - 1;
    while (true) {
      const uint32_t stage = ring_.stage;
      ptx::MbarrierWait(&shared_.dout_full[stage], ring_.phase);
      if (t.q_len - m * kQueries < kQueries) {
        ZeroRows<QTile>(shared_.dout[stage], t.q_len - m * kQueries);
      }
      MultiplyVdo(dp);
      const int row = m * kQueries;
      // The query on the diagonal with this warpgroup's first key.
      const int first = t.key + 64 * w_ - (t.k_len - t.q_len);
      if (ragged || (p_.causal && row < first + 63) ||
          (p_.window_left >= 0 &&
           row + kQueries - 1 > first + p_.window_left)) {
        ApplyMask(t, row, s);
      }
      Probabilities(s, shared_.lse[stage]);
      Fragments p;
      Pack(s, p);
      MultiplyPdo(p, dv);
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(dp);
      ScoreGradients(s, dp, shared_.delta[stage]);
      Fragments ds;
      Pack(s, ds);
      StoreDs(ds);
      ptx::FenceProxyAsync();
      MultiplyDsQ(ds, dk);
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(dv);
      ptx::NamedBarrierSync(kBothBarrier, 256);
      MultiplyDsK(dq);
      buffer_ ^= 1;
      ring_.Next();

      float* sum =
          p_.dq_sum +
          (int64_t{head} * p_.padded_rows + t.padded_row + row) * kHeadDim;
      if (++m == t.end) {
        m = t.begin;
        ++head;
      }
      const bool done = head > last_head;
      if (!done) WaitQ(t, m);
      // After the last block a product that nobody reads: a branch around it
      // would make the compiler wait for all others first.
      MultiplyKq(s);
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(dq);
      ptx::FenceRegisters(dk);
      if (leader_) {
        ptx::MbarrierArrive(&shared_.q_empty[stage]);
        ptx::MbarrierArrive(&shared_.dout_empty[stage]);
      }
      AddDq(dq, sum);
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(s);
      if (done) break;
    }
  }

  __device__ __forceinline__ void WaitQ(const BackwardTile& t, int m) {
    ptx::MbarrierWait(&shared_.q_full[ring_.stage], ring_.phase);
    if (t.q_len - m * kQueries < kQueries) {
      ZeroRows<QTile>(shared_.q[ring_.stage], t.q_len - m * kQueries);
    }
  }

  // S^T = K Q^T
  __device__ __forceinline__ void MultiplyKq(Scores& s) {
    MultiplyRows(shared_.k, shared_.q[ring_.stage], s);
  }
  // dP^T = V dO^T
  __device__ __forceinline__ void MultiplyVdo(Scores& dp) {
    MultiplyRows(shared_.v, shared_.dout[ring_.stage], dp);
  }
  __device__ __forceinline__ void MultiplyRows(const uint8_t* keys,
                                               const uint8_t* queries,
                                               Scores& out) {
    using A = tile::RowOperand<kKeys, kHeadDim>;
    using B = tile::RowOperand<kQueries, kHeadDim>;
    const uint64_t a = A::Descriptor(ptx::SharedAddress(keys) +
                                     64 * w_ * tile::kPanelRowBytes);
    const uint64_t b = B::Descriptor(ptx::SharedAddress(queries));
    ptx::FenceRegisters(out);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < A::kSteps; ++k) {
      ptx::Wgmma<kQueries>::template Shared<0, 0>(
          out, ptx::Advance(a, A::Step(k)), ptx::Advance(b, B::Step(k)), k > 0);
    }
    ptx::WgmmaCommit();
  }

  // dV += P^T dO
  __device__ __forceinline__ void MultiplyPdo(Fragments& p, Gradient& dv) {
    MultiplyFragments(p, shared_.dout[ring_.stage], dv);
  }
  // dK += dS^T Q
  __device__ __forceinline__ void MultiplyDsQ(Fragments& ds, Gradient& dk) {
    MultiplyFragments(ds, shared_.q[ring_.stage], dk);
  }
  __device__ __forceinline__ void MultiplyFragments(Fragments& a,
                                                    const uint8_t* queries,
                                                    Gradient& sum) {
    using B = tile::ColumnOperand<kQueries, kHeadDim>;
    const uint64_t b = B::Descriptor(ptx::SharedAddress(queries));
    ptx::FenceRegisters(sum);
    ptx::FenceRegisters(a);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      ptx::Wgmma<kHeadDim>::template Register<1>(
          sum, a[4 * k], a[4 * k + 1], a[4 * k + 2], a[4 * k + 3],
          ptx::Advance(b, B::Step(k)), 1);
    }
    ptx::WgmmaCommit();
  }

  // This warpgroup's half of dQ^T = K^T dS
  __device__ __forceinline__ void MultiplyDsK(float (&dq)[kDqQueries / 2]) {
    using A = tile::ColumnOperand<kKeys, kHeadDim>;
    using B = tile::RowOperand<kQueries, kKeys>;
    const uint32_t a_offset = kHeadDim == 128 ? w_ * KvTile::kPanelBytes : 0;
    const uint32_t b_offset =
        kHeadDim == 128 ? 0 : w_ * kDqQueries * tile::kPanelRowBytes;
    const uint64_t a = A::Descriptor(ptx::SharedAddress(shared_.k) + a_offset);
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared_.ds[buffer_]) + b_offset);
    ptx::FenceRegisters(dq);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < A::kSteps; ++k) {
      ptx::Wgmma<kDqQueries>::template Shared<1, 0>(
          dq, ptx::Advance(a, A::Step(k)), ptx::Advance(b, B::Step(k)), k > 0);
    }
    ptx::WgmmaCommit();
  }

  // Queries row + column, by the positions of this thread's two keys.
  __device__ __forceinline__ void ApplyMask(const BackwardTile& t, int row,
                                            Scores& s) const {
    int from[2], to[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int key = t.key + warp_row_ + lane_ / 4 + 8 * r;
      const int diagonal = key - (t.k_len - t.q_len) - row - 2 * (lane_ % 4);
      from[r] = p_.causal ? diagonal : INT_MIN;
      if (key >= t.k_len) from[r] = INT_MAX;
      to[r] = p_.window_left >= 0 ? diagonal + p_.window_left : INT_MAX;
    }
#pragma unroll
    for (int i = 0; i < kQueries / 2; ++i) {
      const int r = tile::RowOf(i), query = tile::ColumnOf(i);
      if (query < from[r] || query > to[r]) s[i] = -INFINITY;
    }
  }

  // Columns are queries: the thread's are 8 j + 2 (lane % 4) and the next.
  __device__ __forceinline__ void Probabilities(Scores& s, const float* lse) {
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
      const float2 l =
          *reinterpret_cast<const float2*>(lse + 8 * j + 2 * (lane_ % 4));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[4 * j + i] = ptx::Exp2(
            fmaf(s[4 * j + i], p_.scale_log2, i % 2 == 0 ? -l.x : -l.y));
      }
    }
  }
  __device__ __forceinline__ void ScoreGradients(Scores& p, const Scores& dp,
                                                 const float* delta) {
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
      const float2 d =
          *reinterpret_cast<const float2*>(delta + 8 * j + 2 * (lane_ % 4));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[4 * j + i] *= dp[4 * j + i] - (i % 2 == 0 ? d.x : d.y);
      }
    }
  }

  __device__ __forceinline__ static void Pack(const Scores& s, Fragments& f) {
#pragma unroll
    for (int i = 0; i < kQueries / 4; ++i) {
      f[i] = ptx::PackBf16(s[2 * i], s[2 * i + 1]);
    }
  }

  // dS^T from registers to dS [queries][keys] in shared memory.
  __device__ __forceinline__ void StoreDs(const Fragments& ds) {
    const uint32_t base = ptx::SharedAddress(shared_.ds[buffer_]);
    const int query = lane_ / 16 * 8 + lane_ % 8;
    const int chunk = warp_row_ / 8 + lane_ / 8 % 2;
#pragma unroll
    for (int j = 0; j < kQueries / 8; j += 2) {
      ptx::StoreMatrix4Transposed(base + DsTile::Chunk(8 * j + query, chunk),
                                  ds[2 * j], ds[2 * j + 1], ds[2 * j + 2],
                                  ds[2 * j + 3]);
    }
  }

  __device__ __forceinline__ void AddDq(const float (&dq)[kDqQueries / 2],
                                        float* sum) {
    sum += w_ * (kQueries * kHeadDim / 2) + threadIdx.x % 128 * 4;
#pragma unroll
    for (int i = 0; i < kDqQueries / 2; i += 4) {
      ptx::ReduceAdd4(sum + i * 128, dq[i], dq[i + 1], dq[i + 2], dq[i + 3]);
    }
  }

  // Rows past the end of a sequence belong to another and may hold NaN. Both
  // warpgroups write the same zeros, each before its own multiplications.
  template <class Tile>
  __device__ __forceinline__ void ZeroRows(uint8_t* tile, int valid) {
    constexpr int kRows = Tile::kPanelBytes / tile::kPanelRowBytes;
    constexpr int kChunks = kHeadDim / 8;
    for (int i = threadIdx.x % 128; i < (kRows - valid) * kChunks; i += 128) {
      *reinterpret_cast<uint4*>(tile +
                                Tile::Chunk(valid + i / kChunks, i % kChunks)) =
          uint4{0, 0, 0, 0};
    }
    ptx::FenceProxyAsync();
    ptx::NamedBarrierSync(kOwnBarrier + w_, 128);
  }

  // 64 keys x kHeadDim, through this warpgroup's rows of V.
  __device__ __forceinline__ void Store(const BackwardTile& t,
                                        const Gradient& x, __nv_bfloat16* out,
                                        int64_t row_stride, int64_t head_stride,
                                        bool empty) {
    if (!empty) {
      ptx::NamedBarrierSync(kOwnBarrier + w_, 128);
      const uint32_t base = ptx::SharedAddress(shared_.v);
      const int row = warp_row_ + lane_ % 16;
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; i += 8) {
        ptx::StoreMatrix4(base + KvTile::Chunk(row, i / 4 + lane_ / 16),
                          ptx::PackBf16(x[i], x[i + 1]),
                          ptx::PackBf16(x[i + 2], x[i + 3]),
                          ptx::PackBf16(x[i + 4], x[i + 5]),
                          ptx::PackBf16(x[i + 6], x[i + 7]));
      }
      __syncwarp();
    }
    const int first = t.key + warp_row_;
    out += (t.k_start + first) * row_stride + t.kv_head * head_stride;
    constexpr int kChunks = kHeadDim / 8;
#pragma unroll
    for (int i = 0; i < 16 * kChunks / 32; ++i) {
      const int r = (i * 32 + lane_) / kChunks;
      const int chunk = (i * 32 + lane_) % kChunks;
      uint4 value{0, 0, 0, 0};
      if (!empty) {
        value = *reinterpret_cast<const uint4*>(
            shared_.v + KvTile::Chunk(warp_row_ + r, chunk));
      }
      if (first + r < t.k_len) {
        *reinterpret_cast<uint4*>(out + r * row_stride + chunk * 8) = value;
      }
    }
  }

  static constexpr int kBothBarrier = 1, kOwnBarrier = 2;
  const BackwardParams& p_;
  Shared& shared_;
  const int w_, lane_, warp_row_;
  const bool leader_;
  tile::RingPosition<C::kStages> ring_;
  uint32_t phase_ = 0, buffer_ = 0;
};

template <class C>
__global__ __launch_bounds__(384, 1) void BackwardKernel(
    const __grid_constant__ BackwardParams p) {
  using Shared = BackwardShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    constexpr int kWarps = 8;  // one arrival a warp
    ptx::MbarrierInit(&shared.k_full, 1);
    ptx::MbarrierInit(&shared.v_full, 1);
    ptx::MbarrierInit(&shared.kv_empty, kWarps);
    for (int s = 0; s < C::kStages; ++s) {
      ptx::MbarrierInit(&shared.q_full[s], 1);
      ptx::MbarrierInit(&shared.q_empty[s], kWarps);
      ptx::MbarrierInit(&shared.dout_full[s], 1);
      ptx::MbarrierInit(&shared.dout_empty[s], kWarps);
    }
    for (int s = 0; s < 2; ++s) {
      ptx::MbarrierInit(&shared.tile_full[s], 1);
      ptx::MbarrierInit(&shared.tile_empty[s], kWarps + 1);
    }
    ptx::FenceMbarrierInit();
    ptx::PrefetchTensorMap(&p.q);
    ptx::PrefetchTensorMap(&p.k);
    ptx::PrefetchTensorMap(&p.v);
    ptx::PrefetchTensorMap(&p.dout);
  }
  __syncthreads();

  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    ptx::DecreaseRegisters<24>();
    if (threadIdx.x < 32) {
      BackwardScheduler<C>(p, shared).Run();
    } else if (threadIdx.x == 32) {
      BackwardLoader<C>(p, shared).Run();
    }
  } else {
    ptx::IncreaseRegisters<240>();
    BackwardConsumer<C>(p, shared, warpgroup - 1).Run();
  }
}

}  // namespace intarsia::sm90
