// A walk over the chunks of a unit that computes states and nothing else, for
// kHeads heads of a group, a consumer warpgroup a head:
//   forward   S = 2^c_last S + sum over j of (2^(c_last - c_j) d_j x_j) B_j^T
//   backward  S = 2^c_last S + sum over i of (2^c_i dy_i) C_i^T, last chunk
//             first: the gradient of the state before the chunk
// The forward walk prepares segments of long sequences; both walks give the
// backward pass the states between chunks.
#pragma once

#include "intarsia/mixers/mamba2/sm90_ssd_ring.cuh"

namespace intarsia::sm90 {

struct SsdStatesParams : SsdProblem {
  CUtensorMap narrow, wide;  // x, B or dy, C
  const float* start;        // [sequences, heads, P, N] or null
  float* end;                // the same or null
  // The state that each chunk meets, in bf16 as a PanelTile<P, N>; [SsdUnits
  // of chunks, heads, ...] or null.
  uint8_t* chunk_states;
  // For segments: the state at the unit's end, in fragment order, and log2 of
  // its decay; [SsdUnits of segments, heads, ...], or both null. The last
  // segment of a sequence is left out.
  float* segment_state;
  float* segment_decay;
  int unit;  // tokens
};

// cp.async.bulk from shared to global memory: bytes and addresses are
// multiples of 16. Completion goes by TmaCommit's groups.
__device__ __forceinline__ void SsdBulkStore(void* to, const void* from,
                                             uint32_t bytes) {
  asm volatile(
      "cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
      "r"(ptx::SharedAddress(from)), "r"(bytes)
      : "memory");
}

template <class C>
struct SsdStatesShared {
  using WideTile = tile::PanelTile<kSsdChunk, C::kN>;
  struct alignas(16) Decay {
    __nv_bfloat16 weights[kSsdChunk];
    float whole;  // decay of the chunk
  };
  struct Stage {
    alignas(1024) uint8_t wide[WideTile::kBytes];
    alignas(1024) uint8_t narrow[C::kHeads][SsdHeadTile::kBytes];
  };
  Stage stages[C::kStages];
  alignas(1024) uint8_t state[C::kHeads][2][WideTile::kBytes];
  alignas(16) Decay decay[C::kStages][C::kHeads];
  uint64_t full[C::kStages], empty[C::kStages];
};

// Step k of a walk handles chunk Chunk(k).
template <bool kReverse>
struct SsdStatesWork : SsdUnitWork {
  __device__ __forceinline__ SsdStatesWork(const SsdStatesParams& p,
                                           uint32_t block, int heads_per_block)
      : SsdUnitWork(p, p.unit, block, heads_per_block) {
    if (p.segment_state != nullptr &&
        unit.rows - unit.block * p.unit <= p.unit) {
      unit.exists = false;
    }
  }
  __device__ __forceinline__ int Chunk(int k) const {
    return kReverse ? chunks - 1 - k : k;
  }
};

template <class C, bool kReverse>
struct SsdStatesProducer {
  using Shared = SsdStatesShared<C>;
  using WideTile = typename Shared::WideTile;
  using Work = SsdStatesWork<kReverse>;

  // By one thread.
  __device__ __forceinline__ static void Load(const SsdStatesParams& p,
                                              Shared& shared,
                                              const Work& work) {
    tile::RingPosition<C::kStages> ring;
    for (int k = 0; k < work.chunks; ++k, ring.Next()) {
      auto& stage = shared.stages[ring.stage];
      uint64_t* full = &shared.full[ring.stage];
      ptx::MbarrierWait(&shared.empty[ring.stage], ring.phase ^ 1);
      ptx::MbarrierArriveExpect(
          full, WideTile::kBytes + C::kHeads * SsdHeadTile::kBytes);
      const int row = work.row + work.Chunk(k) * kSsdChunk;
      SsdLoadWide<WideTile>(stage.wide, &p.wide, full, work.group, row);
#pragma unroll
      for (int h = 0; h < C::kHeads; ++h) {
        ptx::TmaLoad3d(stage.narrow[h], &p.narrow, full, 0, work.head + h, row);
      }
    }
  }

  // By one warp, for head h of the block.
  __device__ __forceinline__ static void Decays(const SsdStatesParams& p,
                                                Shared& shared,
                                                const Work& work, int h) {
    const int head = work.head + h, lane = threadIdx.x % 32;
    float whole = 0;
    SsdProduceDecays(p.steps, work, head, kReverse, shared.full, shared.empty,
                     [&](int stage, const SsdSums& s) {
                       whole += s.last;
                       auto& decay = shared.decay[stage][h];
                       const float w0 = kReverse
                                            ? ptx::Exp2(s.c0)
                                            : ptx::Exp2(s.last - s.c0) * s.d0;
                       const float w1 = kReverse
                                            ? ptx::Exp2(s.c1)
                                            : ptx::Exp2(s.last - s.c1) * s.d1;
                       reinterpret_cast<uint32_t*>(decay.weights)[lane] =
                           ptx::PackBf16(w0, w1);
                       if (lane == 0) decay.whole = ptx::Exp2(s.last);
                     });
    if (p.segment_decay != nullptr && lane == 0) {
      p.segment_decay[int64_t{work.number} * p.heads + head] = whole;
    }
  }
};

template <class C, bool kReverse>
class SsdStatesConsumer {
 public:
  using Shared = SsdStatesShared<C>;
  using WideTile = typename Shared::WideTile;
  using Work = SsdStatesWork<kReverse>;
  static constexpr int kN = C::kN;

  __device__ __forceinline__ SsdStatesConsumer(const SsdStatesParams& p,
                                               Shared& shared, const Work& work,
                                               int h)
      : p_(p),
        shared_(shared),
        work_(work),
        h_(h),
        thread_(threadIdx.x % 128),
        warp_(Uniform(threadIdx.x / 32 % 4)) {}

  __device__ __forceinline__ void Run() {
    const int head = work_.head + h_;
    const int64_t state_at =
        (int64_t{work_.unit.sequence} * p_.heads + head) * (kSsdHeadDim * kN);
    float state[kN / 2];
#pragma unroll
    for (float& x : state) x = 0;
    if (p_.start != nullptr && p_.segment_state == nullptr) {
      SsdLoadState(state, p_.start + state_at);
    }
    tile::RingPosition<C::kStages> ring;
    Fragments weighted;
    float whole = 0;
    if (work_.chunks > 0) whole = Prepare(0, ring, weighted);
    for (int k = 0; k < work_.chunks; ++k) {
      uint32_t packed[kN / 4];
      if (p_.chunk_states != nullptr) {
#pragma unroll
        for (int i = 0; i < kN / 4; ++i) {
          packed[i] = ptx::PackBf16(state[2 * i], state[2 * i + 1]);
        }
      }
#pragma unroll
      for (float& value : state) value *= whole;
      const int stage = Uniform(ring.stage);
      Update(weighted, stage, state);
      // While that product runs: the state before goes out, and the next
      // chunk's operand is loaded.
      if (p_.chunk_states != nullptr) Save(packed, k);
      ring.Next();
      Fragments next;
      if (k + 1 < work_.chunks) whole = Prepare(k + 1, ring, next);
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(state);
#pragma unroll
      for (int i = 0; i < 16; ++i) weighted[i] = next[i];
      ptx::MbarrierArrive(&shared_.empty[stage]);
    }
    if (p_.segment_state != nullptr) {
      SsdStoreFragments(
          state, p_.segment_state + (int64_t{work_.number} * p_.heads + head) *
                                        (kSsdHeadDim * kN));
    } else if (p_.end != nullptr) {
      SsdStoreState(state, p_.end + state_at);
    }
    if (thread_ == 0) ptx::TmaWait<0>();
  }

 private:
  using State = float[kN / 2];
  using Fragments = uint32_t[16];

  // Two buffers: the barrier also says that the store before this one has read
  // its buffer.
  __device__ __forceinline__ void Save(const uint32_t (&packed)[kN / 4],
                                       int k) {
    uint8_t* to = shared_.state[h_][k & 1];
    const int lane = thread_ % 32;
    const uint32_t base = ptx::SharedAddress(to);
#pragma unroll
    for (int q = 0; q < kN / 16; ++q) {
      ptx::StoreMatrix4(
          base + WideTile::Chunk(warp_ * 16 + lane % 16, 2 * q + lane / 16),
          packed[4 * q], packed[4 * q + 1], packed[4 * q + 2],
          packed[4 * q + 3]);
    }
    ptx::FenceProxyAsync();
    if (thread_ == 0) ptx::TmaWaitRead<0>();
    Barrier();
    if (thread_ == 0) {
      const int64_t chunk = work_.chunk_number + work_.Chunk(k);
      SsdBulkStore(p_.chunk_states +
                       (chunk * p_.heads + work_.head + h_) * WideTile::kBytes,
                   to, WideTile::kBytes);
      ptx::TmaCommit();
    }
  }

  // Waits for the operands of step k; the scaled A of its product, and the
  // decay of the chunk.
  __device__ __forceinline__ float Prepare(
      int k, const tile::RingPosition<C::kStages>& ring, Fragments& weighted) {
    const int s = Uniform(ring.stage);
    ptx::MbarrierWait(&shared_.full[s], ring.phase);
    auto& stage = shared_.stages[s];
    const int valid = work_.rows - work_.Chunk(k) * kSsdChunk;
    if (valid < kSsdChunk) {
      SsdZeroRows<WideTile>(stage.wide, valid);
      SsdZeroRows<SsdHeadTile>(stage.narrow[h_], valid);
      ptx::FenceProxyAsync();
      Barrier();
    }
    const auto& decay = shared_.decay[s][h_];
    Fragments x;
    SsdLoadTransposed(x, ptx::SharedAddress(stage.narrow[h_]), warp_);
    SsdScaleColumns(x, decay.weights, weighted);
    return decay.whole;
  }

  __device__ __forceinline__ void Update(Fragments& weighted, int s,
                                         State& state) {
    using B = tile::ColumnOperand<kSsdChunk, kN>;
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared_.stages[s].wide));
    ptx::FenceRegisters(weighted);
    ptx::FenceRegisters(state);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      ptx::Wgmma<kN>::template Register<B::kTranspose>(
          state, weighted[4 * k], weighted[4 * k + 1], weighted[4 * k + 2],
          weighted[4 * k + 3], ptx::Advance(b, B::Step(k)), 1);
    }
    ptx::WgmmaCommit();
  }

  __device__ __forceinline__ void Barrier() const {
    ptx::NamedBarrierSync(1 + h_, 128);
  }

  const SsdStatesParams& p_;
  Shared& shared_;
  const Work& work_;
  const int h_, thread_, warp_;
};

template <class C, bool kReverse>
__device__ __forceinline__ void SsdStatesBlock(const SsdStatesParams& p,
                                               uint32_t block) {
  using Shared = SsdStatesShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const SsdStatesWork<kReverse> work(p, block, C::kHeads);
  if (!work.unit.exists) return;
  if (threadIdx.x == 0) {
    SsdInitRing(shared.full, shared.empty, 1 + 32 * C::kHeads, 128 * C::kHeads);
    ptx::FenceMbarrierInit();
  }
  __syncthreads();
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
    if (warp == 0) {
      if (threadIdx.x == 0) {
        SsdStatesProducer<C, kReverse>::Load(p, shared, work);
      }
    } else if (warp <= C::kHeads) {
      SsdStatesProducer<C, kReverse>::Decays(p, shared, work, warp - 1);
    }
  } else {
    SsdStatesConsumer<C, kReverse>(p, shared, work, warpgroup - 1).Run();
  }
}

template <class C>
__global__ __launch_bounds__(128 * (C::kHeads + 1), 1) void SsdStatesKernel(
    const __grid_constant__ SsdStatesParams p) {
  SsdStatesBlock<C, false>(p, blockIdx.x);
}

// Both walks side by side: even blocks go forward, odd ones backward.
template <class C>
__global__ __launch_bounds__(128 * (C::kHeads + 1), 1) void SsdBothStatesKernel(
    const __grid_constant__ SsdStatesParams forward,
    const __grid_constant__ SsdStatesParams reverse) {
  if (blockIdx.x % 2 == 0) {
    SsdStatesBlock<C, false>(forward, blockIdx.x / 2);
  } else {
    SsdStatesBlock<C, true>(reverse, blockIdx.x / 2);
  }
}

}  // namespace intarsia::sm90
