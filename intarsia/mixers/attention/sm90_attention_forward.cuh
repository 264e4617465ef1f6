// The kernel behind sm90_attention_forward.h, as a template over tile sizes
// and choices. Included by one .cu a head dimension and by the tuner.
//
// A block is one producer warp and kWarpgroups consumer warpgroups of 64
// queries each, and stays on its multiprocessor: the producer takes tiles (one
// sequence, one head, 64 kWarpgroups queries) from the scheduler, announces
// them, and streams Q once and K, V through rings of kStages buffers. A
// consumer runs, from the last key block to the first,
//   S' = Q K[n]^T  and, at the same time,  O += P V[n + 1]
//   P' = softmax(S') while the other warpgroups own the tensor cores
// S, P and O never leave registers.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>

#include "intarsia/cuda/ptx/barrier.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/packed_scheduler.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/mixers/attention/sm90_attention_forward.h"
#include "intarsia/mixers/attention/sm90_online_softmax.cuh"

namespace intarsia::sm90 {

enum class Mask { kNone, kCausal, kWindow };  // kWindow: perhaps causal too

struct ForwardDefaults {
  static constexpr int kWarpgroups = 2;
  static constexpr int kStages = 2;
  static constexpr bool kPingPong = true;  // warpgroups take turns to issue
  static constexpr int kPolynomialEighths = 0;
  static constexpr bool kLazy = true;         // see OnlineSoftmax
  static constexpr bool kSeparateOut = true;  // else the output reuses Q
};

struct ForwardParams {
  CUtensorMap q, k, v;
  __nv_bfloat16* out;
  float* lse;
  const int32_t* cu_q;
  const int32_t* cu_k;
  int32_t* counter;
  int64_t out_row_stride, out_head_stride;
  int sequences, total_q, heads, heads_per_kv, heads_per_group;
  float scale_log2;
  int window_left;
  bool causal;
};

// What a tile covers; made by the producer, read by the consumers.
struct ForwardTile {
  int32_t q_start, q_len, k_start, k_len, head, row;  // row: first, in q_len
  int32_t block_begin, block_end;                     // key blocks
};

// Key blocks that at least one row of the tile sees.
template <Mask kMask, int kRows, int kBlock>
__device__ __forceinline__ void SetBlocks(const ForwardParams& p,
                                          ForwardTile* t) {
  int end = t->k_len, begin = 0;
  if (kMask == Mask::kCausal || (kMask == Mask::kWindow && p.causal)) {
    const int last_row = min(t->row + kRows, t->q_len) - 1;
    end = min(end, last_row + 1 + t->k_len - t->q_len);
  }
  if (kMask == Mask::kWindow && p.window_left >= 0) {
    begin = max(0, t->row + t->k_len - t->q_len - p.window_left);
  }
  t->block_end = (max(end, 0) + kBlock - 1) / kBlock;
  t->block_begin = min(begin / kBlock, t->block_end);
}

template <class C>
struct ForwardShared {
  static constexpr int kWarpgroups = C::kWarpgroups;
  using QTile = tile::PanelTile<64, C::kHeadDim>;
  using KvTile = tile::PanelTile<C::kBlockKeys, C::kHeadDim>;

  alignas(1024) uint8_t q[kWarpgroups][QTile::kBytes];
  alignas(1024) uint8_t k[C::kStages][KvTile::kBytes];
  alignas(1024) uint8_t v[C::kStages][KvTile::kBytes];
  alignas(1024) uint8_t out[C::kSeparateOut ? kWarpgroups : 1]
                           [C::kSeparateOut ? QTile::kBytes : 16];
  uint64_t q_full[kWarpgroups], q_empty[kWarpgroups];
  uint64_t k_full[C::kStages], k_empty[C::kStages];
  uint64_t v_full[C::kStages], v_empty[C::kStages];
  uint64_t tile_full[2], tile_empty[2];
  ForwardTile tiles[2];
};

template <class C, Mask kMask>
class ForwardProducer {
 public:
  using Shared = ForwardShared<C>;

  __device__ __forceinline__ ForwardProducer(const ForwardParams& p,
                                             Shared& shared)
      : p_(p), shared_(shared) {}

  // By one warp.
  __device__ __forceinline__ void Run() {
    constexpr int kRows = 64 * C::kWarpgroups;
    const bool leader = threadIdx.x % 32 == 0;
    tile::PackedScheduler<kRows> scheduler(p_.cu_q, p_.sequences, p_.heads,
                                           p_.heads_per_group);
    tile::RingPosition<2> slot;
    int number = blockIdx.x;
    while (true) {
      const tile::PackedTile found = scheduler.Find(number);
      int next = 0;
      if (leader) {
        if (found.rows > 0) next = tile::TakeNumber(p_.counter);
        ForwardTile t{};
        if (found.rows > 0) {
          t.q_start = found.row_start;
          t.q_len = found.rows;
          t.k_start = p_.cu_k[found.sequence];
          t.k_len = p_.cu_k[found.sequence + 1] - t.k_start;
          t.head = found.head;
          t.row = found.block * kRows;
          SetBlocks<kMask, kRows, C::kBlockKeys>(p_, &t);
        }
        ptx::MbarrierWait(&shared_.tile_empty[slot.stage], slot.phase ^ 1);
        shared_.tiles[slot.stage] = t;
        ptx::MbarrierArrive(&shared_.tile_full[slot.stage]);
        if (t.block_begin < t.block_end) Load(t);
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
  __device__ __forceinline__ void Load(const ForwardTile& t) {
    const int kv_head = t.head / p_.heads_per_kv;
    int n = t.block_end - 1;
    LoadBlock(&p_.k, shared_.k, shared_.k_full, shared_.k_empty, &k_ring_,
              kv_head, t.k_start + n * C::kBlockKeys);
#pragma unroll
    for (int w = 0; w < C::kWarpgroups; ++w) {
      ptx::MbarrierWait(&shared_.q_empty[w], q_phase_ ^ 1);
      ptx::MbarrierArriveExpect(&shared_.q_full[w], Shared::QTile::kBytes);
#pragma unroll
      for (int c = 0; c < Shared::QTile::kPanels; ++c) {
        ptx::TmaLoad3d(shared_.q[w] + c * Shared::QTile::kPanelBytes, &p_.q,
                       &shared_.q_full[w], c * tile::kPanelColumns, t.head,
                       t.q_start + t.row + 64 * w);
      }
    }
    q_phase_ ^= 1;
    // A consumer needs K[n - 1] before V[n].
    for (; n > t.block_begin; --n) {
      LoadBlock(&p_.k, shared_.k, shared_.k_full, shared_.k_empty, &k_ring_,
                kv_head, t.k_start + (n - 1) * C::kBlockKeys);
      LoadBlock(&p_.v, shared_.v, shared_.v_full, shared_.v_empty, &v_ring_,
                kv_head, t.k_start + n * C::kBlockKeys);
    }
    LoadBlock(&p_.v, shared_.v, shared_.v_full, shared_.v_empty, &v_ring_,
              kv_head, t.k_start + n * C::kBlockKeys);
  }

  using KvTile = typename Shared::KvTile;
  __device__ __forceinline__ void LoadBlock(
      const CUtensorMap* map, uint8_t (&buffers)[C::kStages][KvTile::kBytes],
      uint64_t* full, uint64_t* empty, tile::RingPosition<C::kStages>* ring,
      int head, int row) {
    const uint32_t s = ring->stage;
    ptx::MbarrierWait(&empty[s], ring->phase ^ 1);
    ptx::MbarrierArriveExpect(&full[s], KvTile::kBytes);
#pragma unroll
    for (int c = 0; c < KvTile::kPanels; ++c) {
      ptx::TmaLoad3d(buffers[s] + c * KvTile::kPanelBytes, map, &full[s],
                     c * tile::kPanelColumns, head, row);
    }
    ring->Next();
  }

  const ForwardParams& p_;
  Shared& shared_;
  tile::RingPosition<C::kStages> k_ring_, v_ring_;
  uint32_t q_phase_ = 0;
};

// One warpgroup; w is its number among the consumers.
template <class C, Mask kMask>
class ForwardConsumer {
 public:
  using Shared = ForwardShared<C>;
  using QTile = typename Shared::QTile;
  using KvTile = typename Shared::KvTile;
  static constexpr int kKeys = C::kBlockKeys;
  static constexpr int kHeadDim = C::kHeadDim;

  __device__ __forceinline__ ForwardConsumer(const ForwardParams& p,
                                             Shared& shared, int w)
      : p_(p),
        shared_(shared),
        w_(w),
        lane_(threadIdx.x % 32),
        warp_row_(threadIdx.x / 32 % 4 * 16),
        leader_(threadIdx.x % 32 == 0) {}

  __device__ __forceinline__ void Run() {
    if (C::kPingPong && w_ == C::kWarpgroups - 1) PassTurn();
    tile::RingPosition<2> slot;
    while (true) {
      ptx::MbarrierWait(&shared_.tile_full[slot.stage], slot.phase);
      const ForwardTile t = shared_.tiles[slot.stage];
      __syncwarp();
      if (leader_) ptx::MbarrierArrive(&shared_.tile_empty[slot.stage]);
      slot.Next();
      if (t.q_len == 0) break;
      Tile(t);
    }
  }

 private:
  using Scores = float[kKeys / 2];
  using Output = float[kHeadDim / 2];
  using Probabilities = uint32_t[kKeys / 4];
  using Softmax = OnlineSoftmax<C::kPolynomialEighths, C::kLazy>;

  __device__ __forceinline__ void Tile(const ForwardTile& t) {
    Output o;
#pragma unroll
    for (float& x : o) x = 0;
    Softmax softmax(p_.scale_log2);
    float inverse[2] = {0, 0}, lse[2] = {-INFINITY, -INFINITY};
    if (t.block_begin < t.block_end) {
      Keys(t, o, softmax);
#pragma unroll
      for (int r = 0; r < 2; ++r) softmax.Finish(r, &inverse[r], &lse[r]);
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(o);
      Release(shared_.v_empty, &v_ring_);
    }
    Store(t, o, inverse, lse);
  }

  // Leaves the last O += P V in flight.
  __device__ __forceinline__ void Keys(const ForwardTile& t, Output& o,
                                       Softmax& softmax) {
    // This thread's rows see the columns [low, high) of its block columns.
    const int row = t.row + 64 * w_ + warp_row_ + lane_ / 4;
    const int diagonal = t.k_len - t.q_len;
    const int column = 2 * (lane_ % 4);
    const bool causal =
        kMask == Mask::kCausal || (kMask == Mask::kWindow && p_.causal);
    const bool window = kMask == Mask::kWindow && p_.window_left >= 0;
    int high[2], low[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int position = row + 8 * r + diagonal;
      high[r] = (causal ? min(t.k_len, position + 1) : t.k_len) - column;
      low[r] = (window ? position - p_.window_left : 0) - column;
    }
    // Blocks in [clear_begin, clear_end) need no mask in this warpgroup.
    const int first = t.row + 64 * w_ + diagonal;
    const int clear_end = (causal ? min(t.k_len, first + 1) : t.k_len) / kKeys;
    const int clear_begin =
        window ? (max(0, first + 63 - p_.window_left) + kKeys - 1) / kKeys : 0;

    int n = t.block_end - 1;
    Scores s;
    Probabilities probabilities;
    ptx::MbarrierWait(&shared_.q_full[w_], q_phase_);
    q_phase_ ^= 1;
    ptx::MbarrierWait(&shared_.k_full[k_ring_.stage], k_ring_.phase);
    MultiplyQk(s);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(s);
    Release(shared_.k_empty, &k_ring_);
    if (n == t.block_begin) ReleaseQ();
    ApplyMask(s, n, low, high);
    softmax.First(s);
    Pack(s, probabilities);
    if (t.k_len - n * kKeys < kKeys) ZeroValues(t.k_len - n * kKeys);

    const auto step = [&](bool masked) {
      ptx::MbarrierWait(&shared_.k_full[k_ring_.stage], k_ring_.phase);
      if (C::kPingPong) ptx::NamedBarrierSync(1 + w_, 256);
      MultiplyQk(s);
      ptx::MbarrierWait(&shared_.v_full[v_ring_.stage], v_ring_.phase);
      MultiplyPv(probabilities, o);
      if (C::kPingPong) PassTurn();
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(s);
      Release(shared_.k_empty, &k_ring_);
      if (n == t.block_begin) ReleaseQ();
      if (masked) ApplyMask(s, n, low, high);
      const bool rescale = softmax.Next(s);
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(o);
      Release(shared_.v_empty, &v_ring_);
      Pack(s, probabilities);
      if (rescale) {
#pragma unroll
        for (int i = 0; i < kHeadDim / 2; ++i) {
          o[i] *= softmax.scale(tile::RowOf(i));
        }
      }
    };
    --n;
    if (kMask != Mask::kNone) {
      for (; n >= max(clear_end, t.block_begin); --n) step(true);
    }
    for (; n >= max(clear_begin, t.block_begin); --n) step(false);
    if (kMask == Mask::kWindow) {
      for (; n >= t.block_begin; --n) step(true);
    }
    ptx::MbarrierWait(&shared_.v_full[v_ring_.stage], v_ring_.phase);
    MultiplyPv(probabilities, o);
  }

  __device__ __forceinline__ void MultiplyQk(Scores& s) {
    using A = tile::RowOperand<64, kHeadDim>;
    using B = tile::RowOperand<kKeys, kHeadDim>;
    const uint64_t a = A::Descriptor(ptx::SharedAddress(shared_.q[w_]));
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared_.k[k_ring_.stage]));
    ptx::FenceRegisters(s);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < A::kSteps; ++k) {
      ptx::Wgmma<kKeys>::template Shared<0, B::kTranspose>(
          s, ptx::Advance(a, A::Step(k)), ptx::Advance(b, B::Step(k)), k > 0);
    }
    ptx::WgmmaCommit();
  }

  __device__ __forceinline__ void MultiplyPv(Probabilities& p, Output& o) {
    using B = tile::ColumnOperand<kKeys, kHeadDim>;
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared_.v[v_ring_.stage]));
    ptx::FenceRegisters(o);
    ptx::FenceRegisters(p);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      ptx::Wgmma<kHeadDim>::template Register<B::kTranspose>(
          o, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3],
          ptx::Advance(b, B::Step(k)), 1);
    }
    ptx::WgmmaCommit();
  }

  __device__ __forceinline__ static void Pack(const Scores& s,
                                              Probabilities& p) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) {
      p[i] = ptx::PackBf16(s[2 * i], s[2 * i + 1]);
    }
  }

  __device__ __forceinline__ static void ApplyMask(Scores& s, int n,
                                                   const int (&low)[2],
                                                   const int (&high)[2]) {
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      const int r = tile::RowOf(i), column = tile::ColumnOf(i);
      bool seen = column < high[r] - n * kKeys;
      if (kMask == Mask::kWindow) seen &= column >= low[r] - n * kKeys;
      if (!seen) s[i] = -INFINITY;
    }
  }

  // The block reaches past its sequence: the rows there belong to somebody
  // else and may hold NaN, which a probability of 0 would not silence. Every
  // warpgroup writes the same zeros before its own multiplication.
  __device__ __forceinline__ void ZeroValues(int valid) {
    ptx::MbarrierWait(&shared_.v_full[v_ring_.stage], v_ring_.phase);
    uint8_t* v = shared_.v[v_ring_.stage];
    constexpr int kChunks = kHeadDim / 8;
    for (int i = threadIdx.x % 128; i < (kKeys - valid) * kChunks; i += 128) {
      const int row = valid + i / kChunks;
      *reinterpret_cast<uint4*>(v + KvTile::Chunk(row, i % kChunks)) =
          uint4{0, 0, 0, 0};
    }
    ptx::FenceProxyAsync();
    ptx::NamedBarrierSync(kFirstOwnBarrier + w_, 128);
  }

  __device__ __forceinline__ void Store(const ForwardTile& t, Output& o,
                                        const float (&inverse)[2],
                                        const float (&lse)[2]) {
    const int row = t.row + 64 * w_ + warp_row_;
    if (p_.lse != nullptr && lane_ % 4 == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int i = row + lane_ / 4 + 8 * r;
        if (i < t.q_len) {
          p_.lse[int64_t{t.head} * p_.total_q + t.q_start + i] = lse[r];
        }
      }
    }
    // A tile that saw no key did not take Q's buffer either.
    const bool empty = t.block_begin >= t.block_end;
    // Through shared memory, for 16-byte stores of whole rows. A warp writes
    // and reads its own 16 rows only.
    uint8_t* buffer = C::kSeparateOut ? shared_.out[w_] : shared_.q[w_];
    if (C::kSeparateOut) {
      __syncwarp();
    } else if (!empty) {
      ptx::NamedBarrierSync(kFirstOwnBarrier + w_, 128);
    }
    const uint32_t base = ptx::SharedAddress(buffer);
    const int matrix_row = warp_row_ + lane_ % 16;
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; i += 8) {
      if (empty) break;
      ptx::StoreMatrix4(
          base + QTile::Chunk(matrix_row, i / 4 + lane_ / 16),
          ptx::PackBf16(o[i] * inverse[0], o[i + 1] * inverse[0]),
          ptx::PackBf16(o[i + 2] * inverse[1], o[i + 3] * inverse[1]),
          ptx::PackBf16(o[i + 4] * inverse[0], o[i + 5] * inverse[0]),
          ptx::PackBf16(o[i + 6] * inverse[1], o[i + 7] * inverse[1]));
    }
    __syncwarp();
    __nv_bfloat16* out = p_.out + (t.q_start + row) * p_.out_row_stride +
                         t.head * p_.out_head_stride;
    constexpr int kChunks = kHeadDim / 8;
#pragma unroll
    for (int i = 0; i < 16 * kChunks / 32; ++i) {
      const int r = (i * 32 + lane_) / kChunks;
      const int chunk = (i * 32 + lane_) % kChunks;
      uint4 value{0, 0, 0, 0};
      if (!empty) {
        value = *reinterpret_cast<const uint4*>(
            buffer + QTile::Chunk(warp_row_ + r, chunk));
      }
      if (row + r < t.q_len) {
        *reinterpret_cast<uint4*>(out + r * p_.out_row_stride + chunk * 8) =
            value;
      }
    }
    if (!C::kSeparateOut && !empty) {
      ptx::FenceProxyAsync();
      __syncwarp();
      if (leader_) ptx::MbarrierArrive(&shared_.q_empty[w_]);
    }
  }

  __device__ __forceinline__ void Release(
      uint64_t* empty, tile::RingPosition<C::kStages>* ring) {
    if (leader_) ptx::MbarrierArrive(&empty[ring->stage]);
    ring->Next();
  }
  __device__ __forceinline__ void ReleaseQ() {
    if (C::kSeparateOut && leader_) {
      ptx::MbarrierArrive(&shared_.q_empty[w_]);
    }
  }
  __device__ __forceinline__ void PassTurn() {
    const int next = w_ + 1 == C::kWarpgroups ? 0 : w_ + 1;
    ptx::NamedBarrierArrive(1 + next, 256);
  }

  static constexpr int kFirstOwnBarrier = 1 + C::kWarpgroups;
  const ForwardParams& p_;
  Shared& shared_;
  const int w_, lane_, warp_row_;
  const bool leader_;
  tile::RingPosition<C::kStages> k_ring_, v_ring_;
  uint32_t q_phase_ = 0;
};

template <class C, Mask kMask>
__global__ __launch_bounds__(128 * (C::kWarpgroups + 1), 1) void ForwardKernel(
    const __grid_constant__ ForwardParams p) {
  using Shared = ForwardShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    constexpr int kWarps = 4 * C::kWarpgroups;  // one arrival a warp
    for (int w = 0; w < C::kWarpgroups; ++w) {
      ptx::MbarrierInit(&shared.q_full[w], 1);
      ptx::MbarrierInit(&shared.q_empty[w], 4);
    }
    for (int s = 0; s < C::kStages; ++s) {
      ptx::MbarrierInit(&shared.k_full[s], 1);
      ptx::MbarrierInit(&shared.k_empty[s], kWarps);
      ptx::MbarrierInit(&shared.v_full[s], 1);
      ptx::MbarrierInit(&shared.v_empty[s], kWarps);
    }
    for (int s = 0; s < 2; ++s) {
      ptx::MbarrierInit(&shared.tile_full[s], 1);
      ptx::MbarrierInit(&shared.tile_empty[s], kWarps);
    }
    ptx::FenceMbarrierInit();
    ptx::PrefetchTensorMap(&p.q);
    ptx::PrefetchTensorMap(&p.k);
    ptx::PrefetchTensorMap(&p.v);
  }
  __syncthreads();

  // Uniform over a warp, and known to be.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  // The sums fit what registers.cuh says for 384 and 512 threads.
  constexpr bool kThree = C::kWarpgroups == 3;
  if (warpgroup == 0) {
    if (C::kWarpgroups > 1) ptx::DecreaseRegisters<kThree ? 32 : 40>();
    if (threadIdx.x < 32) ForwardProducer<C, kMask>(p, shared).Run();
  } else {
    if (C::kWarpgroups > 1) ptx::IncreaseRegisters<kThree ? 160 : 232>();
    ForwardConsumer<C, kMask>(p, shared, warpgroup - 1).Run();
  }
}

template <class C, Mask kMask>
cudaError_t LaunchForward(const Sm90AttentionForwardArgs& a,
                          cudaStream_t stream) {
  ForwardParams p{};
  constexpr int kRows = 64 * C::kWarpgroups;
  cudaError_t error =
      tile::EncodePanelMap(&p.q, a.q, a.total_q, a.heads, a.head_dim,
                           a.q_row_stride, a.q_head_stride, 64);
  if (error != cudaSuccess) return error;
  error = tile::EncodePanelMap(&p.k, a.k, a.total_k, a.kv_heads, a.head_dim,
                               a.k_row_stride, a.k_head_stride, C::kBlockKeys);
  if (error != cudaSuccess) return error;
  error = tile::EncodePanelMap(&p.v, a.v, a.total_k, a.kv_heads, a.head_dim,
                               a.v_row_stride, a.v_head_stride, C::kBlockKeys);
  if (error != cudaSuccess) return error;
  p.out = a.out;
  p.lse = a.lse;
  p.cu_q = a.cu_seqlens_q;
  p.cu_k = a.cu_seqlens_k;
  p.counter = a.tile_counter;
  p.out_row_stride = a.out_row_stride;
  p.out_head_stride = a.out_head_stride;
  p.sequences = a.sequences;
  p.total_q = a.total_q;
  p.heads = a.heads;
  p.heads_per_kv = a.heads / a.kv_heads;
  // Keys and values of a group take at most 32 MB of the 50 MB of L2.
  const int64_t kv_bytes =
      int64_t{4} * std::max(a.max_seqlen_k, 1) * a.head_dim;
  const int64_t fitting = std::max<int64_t>(1, (int64_t{32} << 20) / kv_bytes);
  p.heads_per_group =
      static_cast<int>(std::min<int64_t>(fitting * p.heads_per_kv, a.heads));
  p.scale_log2 = a.scale * 1.44269504089f;
  p.window_left = a.window_left;
  p.causal = a.causal;

  int device = 0, processors = 0;
  error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount,
                                 device);
  if (error != cudaSuccess) return error;
  constexpr int kBytes = sizeof(ForwardShared<C>);
  static_assert(kBytes <= 227 * 1024);
  const auto kernel = ForwardKernel<C, kMask>;
  error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  const int64_t tiles =
      int64_t{a.sequences} * a.heads * ((a.max_seqlen_q + kRows - 1) / kRows);
  const int grid = static_cast<int>(std::min<int64_t>(processors, tiles));
  if (grid > 0) {
    kernel<<<grid, 128 * (C::kWarpgroups + 1), kBytes, stream>>>(p);
  }
  return cudaGetLastError();
}

// The kernel of a configuration for each mask.
template <class Full, class Causal, class Window>
cudaError_t DispatchForward(const Sm90AttentionForwardArgs& args,
                            cudaStream_t stream) {
  if (args.window_left >= 0) {
    return LaunchForward<Window, Mask::kWindow>(args, stream);
  }
  return args.causal ? LaunchForward<Causal, Mask::kCausal>(args, stream)
                     : LaunchForward<Full, Mask::kNone>(args, stream);
}

}  // namespace intarsia::sm90
