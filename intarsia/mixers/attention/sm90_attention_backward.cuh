// The main kernel behind sm90_attention_backward.h.
//
// A tile is 128 keys and one query head; K and V stay in shared memory while Q
// and dO of every query block that sees them stream past. Two warpgroups hold
// 64 keys each and work with keys as rows, so that P^T and dS^T come out of the
// tensor cores in the layout in which they go in again (A from registers):
//   S^T = K Q^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q
// dK and dV stay in registers; where query heads share keys, each writes its
// part in bf16, and a later kernel adds them. dQ needs the dS of both
// warpgroups: each writes its half to shared memory and, one step later, when
// the other's is there too, computes a half of dQ^T = K^T dS, which the copy
// engine adds to an fp32 buffer in device memory. Its elements lie there in the
// order in which threads hold them; the last kernel puts them in place.
#pragma once

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
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/rows.cuh"
#include "intarsia/mixers/attention/sm90_attention_backward_load.cuh"

namespace intarsia::sm90 {

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
    if (C::kCopyDq && leader_) ptx::TmaWait<0>();
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
    // From one lane, so that the compiler knows that a warp agrees, and keeps
    // what follows from it in uniform registers.
    const int begin = __shfl_sync(~0u, t.begin, 0);
    const int end = __shfl_sync(~0u, t.end, 0);
    QueryOrder order(begin, end, __shfl_sync(~0u, t.key, 0) / kKeys,
                     C::kSpread);
    const int head = __shfl_sync(~0u, t.head, 0);
    float* sum = nullptr;  // where the dQ of the step before belongs
    WaitQ(t, order.block());
    MultiplyKq(s);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(s);
    ptx::MbarrierWait(&shared_.v_full, phase_);
    if (ragged) ZeroRows<KvTile>(shared_.v, t.k_len - t.key);
    phase_ ^= 1;

    while (true) {
      // S of this step is there.
      const uint32_t stage = ring_.stage;
      const int row = order.block() * kQueries;
      ptx::MbarrierWait(&shared_.dout_full[stage], ring_.phase);
      if (t.q_len - row < kQueries) {
        ZeroRows<QTile>(shared_.dout[stage], t.q_len - row);
      }
      MultiplyVdo(dp);
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
      ptx::MbarrierWait(&shared_.ds_empty[ds_.stage], ds_.phase ^ 1);
      StoreDs(ds);
      ptx::FenceProxyAsync();
      __syncwarp();
      if (leader_) ptx::MbarrierArrive(&shared_.ds_full[ds_.stage]);
      ds_.Next();
      MultiplyDsQ(ds, dk);
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(dv);
      // dQ of the step before, whose dS the other warpgroup wrote long ago.
      // Products that nobody reads (this one in the first step, S after the
      // last) cost less than branches: with wgmma in a branch the compiler
      // waits for all of them.
      if (sum != nullptr) WaitDs(ds_);
      MultiplyDsK(dq, ds_);
      ring_.Next();
      float* const add = sum;
      sum = p_.dq_sum +
            (int64_t{head} * p_.padded_rows + t.padded_row + row) * kHeadDim;
      order.Next(begin, end);
      if (!order.done()) WaitQ(t, order.block());
      MultiplyKq(s);
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(dq);
      ptx::FenceRegisters(dk);
      ptx::MbarrierArrive(&shared_.q_empty[stage]);
      ptx::MbarrierArrive(&shared_.dout_empty[stage]);
      if (add != nullptr) {
        if (leader_) ptx::MbarrierArrive(&shared_.ds_empty[ds_.stage]);
        AddDq(dq, add);
      }
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(s);
      if (order.done()) break;
    }
    tile::RingPosition<2> last = ds_;
    last.Next();
    WaitDs(last);
    MultiplyDsK(dq, last);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(dq);
    __syncwarp();
    if (leader_) ptx::MbarrierArrive(&shared_.ds_empty[last.stage]);
    AddDq(dq, sum);
  }

  __device__ __forceinline__ void WaitQ(const BackwardTile& t, int m) {
    ptx::MbarrierWait(&shared_.q_full[ring_.stage], ring_.phase);
    if (t.q_len - m * kQueries < kQueries) {
      ZeroRows<QTile>(shared_.q[ring_.stage], t.q_len - m * kQueries);
    }
  }

  // Until both warpgroups wrote the dS that `next` would overwrite.
  __device__ __forceinline__ void WaitDs(const tile::RingPosition<2>& next) {
    ptx::MbarrierWait(&shared_.ds_full[next.stage], next.phase ^ 1);
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
  __device__ __forceinline__ void MultiplyDsK(float (&dq)[kDqQueries / 2],
                                              const tile::RingPosition<2>& ds) {
    using A = tile::ColumnOperand<kKeys, kHeadDim>;
    using B = tile::RowOperand<kQueries, kKeys>;
    const uint32_t a_offset = kHeadDim == 128 ? w_ * KvTile::kPanelBytes : 0;
    const uint32_t b_offset =
        kHeadDim == 128 ? 0 : w_ * kDqQueries * tile::kPanelRowBytes;
    const uint64_t a = A::Descriptor(ptx::SharedAddress(shared_.k) + a_offset);
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared_.ds[ds.stage]) + b_offset);
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
    const uint32_t base = ptx::SharedAddress(shared_.ds[ds_.stage]);
    const int query = lane_ / 16 * 8 + lane_ % 8;
    const int chunk = warp_row_ / 8 + lane_ / 8 % 2;
#pragma unroll
    for (int j = 0; j < kQueries / 8; j += 2) {
      ptx::StoreMatrix4Transposed(base + DsTile::Chunk(8 * j + query, chunk),
                                  ds[2 * j], ds[2 * j + 1], ds[2 * j + 2],
                                  ds[2 * j + 3]);
    }
  }

  // A warp's part of the block is contiguous, in the order of its registers.
  __device__ __forceinline__ void AddDq(const float (&dq)[kDqQueries / 2],
                                        float* sum) {
    constexpr int kCount = kDqQueries / 2 * 32;  // a warp's
    sum += (w_ * 4 + threadIdx.x / 32 % 4) * kCount;
    if constexpr (C::kCopyDq) {
      float* buffer = shared_.dq[w_ * 4 + threadIdx.x / 32 % 4];
      if (leader_) ptx::TmaWaitRead<0>();
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kDqQueries / 2; i += 4) {
        *reinterpret_cast<float4*>(buffer + i * 32 + lane_ * 4) =
            float4{dq[i], dq[i + 1], dq[i + 2], dq[i + 3]};
      }
      ptx::FenceProxyAsync();
      __syncwarp();
      if (leader_) {
        ptx::BulkReduceAddF32(sum, buffer, kCount * 4);
        ptx::TmaCommit();
      }
    } else {
      sum += lane_ * 4;
#pragma unroll
      for (int i = 0; i < kDqQueries / 2; i += 4) {
        ptx::ReduceAdd4(sum + i * 32, dq[i], dq[i + 1], dq[i + 2], dq[i + 3]);
      }
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
    out += (t.k_start + first) * row_stride + t.head * head_stride;
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

  static constexpr int kOwnBarrier = 1;
  const BackwardParams& p_;
  Shared& shared_;
  const int w_, lane_, warp_row_;
  const bool leader_;
  tile::RingPosition<C::kStages> ring_;
  tile::RingPosition<2> ds_;  // where this step's dS goes
  uint32_t phase_ = 0;
};

template <class C>
__global__ __launch_bounds__(384, 1) void BackwardKernel(
    const __grid_constant__ BackwardParams p) {
  using Shared = BackwardShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    // One arrival a warp; of each thread where threads read the buffer
    // themselves (log-sum-exp and delta lie beside Q and dO).
    constexpr int kWarps = 8, kThreads = 256;
    ptx::MbarrierInit(&shared.k_full, 1);
    ptx::MbarrierInit(&shared.v_full, 1);
    ptx::MbarrierInit(&shared.kv_empty, kWarps);
    for (int s = 0; s < C::kStages; ++s) {
      ptx::MbarrierInit(&shared.q_full[s], 1);
      ptx::MbarrierInit(&shared.q_empty[s], kThreads);
      ptx::MbarrierInit(&shared.dout_full[s], 1);
      ptx::MbarrierInit(&shared.dout_empty[s], kThreads);
    }
    for (int s = 0; s < 2; ++s) {
      ptx::MbarrierInit(&shared.ds_full[s], kWarps);
      ptx::MbarrierInit(&shared.ds_empty[s], kWarps);
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
