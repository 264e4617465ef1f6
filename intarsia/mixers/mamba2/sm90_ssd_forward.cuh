// The main kernel of sm90_ssd_forward.h. A block takes a unit (a sequence or a
// segment of one) and kHeads heads of a group, a consumer warpgroup a head, and
// walks over its chunks of 64 tokens. A producer warp streams x, B, C and the
// scores G (sm90_ssd_scores.cuh) through a ring; kHeads more warps compute the
// decays of the chunks. A consumer keeps the state S [P, N] in fp32
// accumulators; everything is transposed, so that S is an operand without
// leaving registers:
//   Y^T  = bf16(S) C^T, columns scaled by the decay since the chunk's start
//   M    = scores times decays, to shared memory       (while that product
//   runs) Y^T += X^T M S    = decay S + (X scaled)^T B
#pragma once

#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_ring.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_scores.cuh"

namespace intarsia::sm90 {

struct SsdForwardParams : SsdProblem {
  CUtensorMap x, b, c, y;
  const float* skip;  // D or null
  const uint8_t* scores;
  const float* initial;  // [sequences, heads, P, N] or null
  float* final_state;    // the same or null
  // Of segments from a zero state, in fragment order, and log2 of their decay;
  // [SsdUnits of segments, heads, ...].
  const float* segment_state;
  const float* segment_decay;
  __nv_bfloat16* out;
  int64_t out_stride;
  int unit;  // tokens
};

template <class C>
struct SsdForwardShared {
  using WideTile = tile::PanelTile<kSsdChunk, C::kN>;
  struct Stage {
    alignas(1024) uint8_t b[WideTile::kBytes];
    alignas(1024) uint8_t c[WideTile::kBytes];
    alignas(1024) uint8_t x[C::kHeads][SsdHeadTile::kBytes];
    alignas(1024) uint8_t scores[kSsdScoreBytes];
  };
  Stage stages[C::kStages];
  alignas(1024) uint8_t masked[C::kHeads][2][SsdHeadTile::kBytes];
  alignas(1024) uint8_t out[C::kHeads][SsdHeadTile::kBytes];
  alignas(16) SsdDecay decay[C::kStages][C::kHeads];
  uint64_t full[C::kStages], empty[C::kStages];
};

template <class C>
class SsdForwardProducer {
 public:
  using Shared = SsdForwardShared<C>;
  using WideTile = typename Shared::WideTile;

  // By one thread.
  __device__ __forceinline__ static void Load(const SsdForwardParams& p,
                                              Shared& shared,
                                              const SsdUnitWork& work) {
    constexpr uint32_t kBytes =
        2 * WideTile::kBytes + C::kHeads * SsdHeadTile::kBytes + kSsdScoreBytes;
    cudaGridDependencySynchronize();  // scores
    tile::RingPosition<C::kStages> ring;
    for (int k = 0; k < work.chunks; ++k, ring.Next()) {
      auto& stage = shared.stages[ring.stage];
      uint64_t* full = &shared.full[ring.stage];
      ptx::MbarrierWait(&shared.empty[ring.stage], ring.phase ^ 1);
      ptx::MbarrierArriveExpect(full, kBytes);
      const int row = work.row + k * kSsdChunk;
      SsdLoadWide<WideTile>(stage.c, &p.c, full, work.group, row);
      ptx::BulkLoad(
          stage.scores,
          p.scores + (int64_t{work.chunk_number + k} * p.groups + work.group) *
                         kSsdScoreBytes,
          kSsdScoreBytes, full);
#pragma unroll
      for (int h = 0; h < C::kHeads; ++h) {
        ptx::TmaLoad3d(stage.x[h], &p.x, full, 0, work.head + h, row);
      }
      SsdLoadWide<WideTile>(stage.b, &p.b, full, work.group, row);
    }
  }

  // By one warp, for head h of the block.
  __device__ __forceinline__ static void Decays(const SsdForwardParams& p,
                                                Shared& shared,
                                                const SsdUnitWork& work,
                                                int h) {
    SsdProduceDecays(p.steps, work, work.head + h, false, shared.full,
                     shared.empty, [&](int stage, const SsdSums& sums) {
                       SsdStoreDecay(sums, &shared.decay[stage][h]);
                     });
  }
};

// One warpgroup, for head h of the block.
template <class C>
class SsdForwardConsumer {
 public:
  using Shared = SsdForwardShared<C>;
  using WideTile = typename Shared::WideTile;
  static constexpr int kN = C::kN;

  __device__ __forceinline__ SsdForwardConsumer(const SsdForwardParams& p,
                                                Shared& shared,
                                                const SsdUnitWork& work, int h)
      : p_(p),
        shared_(shared),
        work_(work),
        h_(h),
        thread_(threadIdx.x % 128),
        lane_(threadIdx.x % 32),
        warp_(Uniform(threadIdx.x / 32 % 4)) {}

  __device__ __forceinline__ void Run() {
    // What lies above the diagonal stays zero.
    for (int i = thread_; i < 2 * int(SsdHeadTile::kBytes) / 16; i += 128) {
      reinterpret_cast<uint4*>(shared_.masked[h_][0])[i] = uint4{0, 0, 0, 0};
    }
    Barrier();
    float state[kN / 2];
    Start(state);
    const int head = work_.head + h_;
    skip_ = p_.skip == nullptr ? 0.0f : p_.skip[head];
    tile::RingPosition<C::kStages> ring;
    if (work_.chunks > 0) {
      ptx::MbarrierWait(&shared_.full[0], 0);
      Mask(0, 0);
    }
    for (int k = 0; k < work_.chunks; ++k) {
      const int stage = Uniform(ring.stage);
      ring.Next();
      Chunk(state, k, stage, ring);
      ptx::MbarrierArrive(&shared_.empty[stage]);
    }
    const bool last =
        int64_t{work_.unit.block + 1} * p_.unit >= work_.unit.rows;
    if (last && p_.final_state != nullptr) {
      SsdStoreState(state, p_.final_state + StateOffset());
    }
    if (thread_ == 0) ptx::TmaWait<0>();
  }

 private:
  using State = float[kN / 2];
  using Output = float[32];
  using Fragments = uint32_t[16];

  __device__ __forceinline__ int64_t StateOffset() const {
    return (int64_t{work_.unit.sequence} * p_.heads + work_.head + h_) *
           (kSsdHeadDim * kN);
  }

  // The sequence's initial state, moved on by the segments before this one.
  __device__ __forceinline__ void Start(State& state) const {
#pragma unroll
    for (float& x : state) x = 0;
    if (p_.initial != nullptr) SsdLoadState(state, p_.initial + StateOffset());
    if (work_.unit.block > 0) cudaGridDependencySynchronize();
    for (int s = work_.unit.block; s > 0; --s) {
      const int64_t at = int64_t{work_.number - s} * p_.heads + work_.head + h_;
      SsdAddFragments(state, ptx::Exp2(p_.segment_decay[at]),
                      p_.segment_state + at * (kSsdHeadDim * kN));
    }
  }

  // Chunk k in stage s; its M is there. `next` is the stage of the chunk after.
  __device__ __forceinline__ void Chunk(
      State& state, int k, int s, const tile::RingPosition<C::kStages>& next) {
    const SsdDecay& decay = shared_.decay[s][h_];
    const int valid = work_.rows - k * kSsdChunk;
    if (valid < kSsdChunk) {  // the last: nothing is loaded here again
      SsdZeroRows<WideTile>(shared_.stages[s].b, valid);
      SsdZeroRows<SsdHeadTile>(shared_.stages[s].x[h_], valid);
      ptx::FenceProxyAsync();
      Barrier();
    }
    Output y;
    uint32_t packed[kN / 4];
#pragma unroll
    for (int i = 0; i < kN / 4; ++i) {
      packed[i] = ptx::PackBf16(state[2 * i], state[2 * i + 1]);
    }
    // Before the product is in flight, or ptxas would wait for it here.
    const float total = decay.grown[kSsdChunk - 1];
#pragma unroll
    for (float& x : state) x *= total;
    MultiplyC(packed, s, y);
    Fragments x, weighted;
    SsdLoadTransposed(x, ptx::SharedAddress(shared_.stages[s].x[h_]), warp_);
    SsdScaleColumns(x, decay.left, weighted);
    ptx::FenceProxyAsync();                   // M
    if (thread_ == 0) ptx::TmaWaitRead<0>();  // the previous chunk's output
    Barrier();
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(y);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float2 grown =
          reinterpret_cast<const float2*>(decay.grown)[4 * i + lane_ % 4];
      y[4 * i] *= grown.x;
      y[4 * i + 1] *= grown.y;
      y[4 * i + 2] *= grown.x;
      y[4 * i + 3] *= grown.y;
    }
    MultiplyMasked(x, shared_.masked[h_][k & 1], y);
    Update(weighted, s, state);
    ptx::WgmmaWait<1>();
    ptx::FenceRegisters(y);
    Store(y, k, valid);
    if (k + 1 < work_.chunks) {
      ptx::MbarrierWait(&shared_.full[next.stage], next.phase);
      Mask(Uniform(next.stage), (k + 1) & 1);
    }
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(state);
  }

  __device__ __forceinline__ void MultiplyC(uint32_t (&packed)[kN / 4], int s,
                                            Output& y) {
    using B = tile::RowOperand<kSsdChunk, kN>;
    const uint64_t c = B::Descriptor(ptx::SharedAddress(shared_.stages[s].c));
    ptx::FenceRegisters(packed);
    ptx::FenceRegisters(y);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      ptx::Wgmma<64>::Register<0>(y, packed[4 * k], packed[4 * k + 1],
                                  packed[4 * k + 2], packed[4 * k + 3],
                                  ptx::Advance(c, B::Step(k)), k > 0);
    }
    ptx::WgmmaCommit();
  }

  // M^T [source, target] = G^T times 2^(c_target - c_source) d_source, and D
  // on the diagonal. A warp has 16 sources, and computes 16 x 16 blocks from
  // the one on the diagonal to the right: code of its own for each warp,
  // without branches.
  __device__ __forceinline__ void Mask(int s, int buffer) {
    switch (warp_) {
      case 0:
        return MaskRows<0>(s, buffer);
      case 1:
        return MaskRows<1>(s, buffer);
      case 2:
        return MaskRows<2>(s, buffer);
      default:
        return MaskRows<3>(s, buffer);
    }
  }

  // On the diagonal, exponents of pairs that do not exist (their G is 0) must
  // stay finite.
  template <int kWarp>
  __device__ __forceinline__ void MaskRows(int s, int buffer) {
    const SsdDecay& decay = shared_.decay[s][h_];
    const uint4* scores =
        reinterpret_cast<const uint4*>(shared_.stages[s].scores) + thread_;
    const float2* sums = reinterpret_cast<const float2*>(decay.sum) + lane_ % 4;
    const int row = kWarp * 16 + lane_ / 4;
    const float source0 = decay.source[row], source1 = decay.source[row + 8];
    const uint32_t to = ptx::SharedAddress(shared_.masked[h_][buffer]) +
                        (kWarp * 16 + lane_ % 16) * tile::kPanelRowBytes;
    const uint32_t chunk = (lane_ / 16 ^ (lane_ & 7)) << 4;
#pragma unroll
    for (int q = kWarp; q < 4; ++q) {
      const uint4 word = scores[q * 128];
      float m[8] = {Low(word.x), High(word.x), Low(word.y), High(word.y),
                    Low(word.z), High(word.z), Low(word.w), High(word.w)};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 sum = sums[8 * q + 4 * half];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float e = (i % 2 ? sum.y : sum.x) - (i / 2 ? source1 : source0);
          if (q == kWarp) e = fminf(e, 126.0f);
          m[4 * half + i] *= ptx::Exp2(e);
        }
      }
      if (q == kWarp) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float add = lane_ / 4 == 2 * (lane_ % 4) + i ? skip_ : 0.0f;
          m[i] += add;
          m[6 + i] += add;
        }
      }
      ptx::StoreMatrix4(to + (chunk ^ (q << 5)), ptx::PackBf16(m[0], m[1]),
                        ptx::PackBf16(m[2], m[3]), ptx::PackBf16(m[4], m[5]),
                        ptx::PackBf16(m[6], m[7]));
    }
  }

  __device__ __forceinline__ void MultiplyMasked(Fragments& x,
                                                 const uint8_t* masked,
                                                 Output& y) {
    using B = tile::ColumnOperand<kSsdChunk, kSsdChunk>;
    const uint64_t b = B::Descriptor(ptx::SharedAddress(masked));
    ptx::FenceRegisters(x);
    ptx::FenceRegisters(y);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      ptx::Wgmma<64>::Register<B::kTranspose>(y, x[4 * k], x[4 * k + 1],
                                              x[4 * k + 2], x[4 * k + 3],
                                              ptx::Advance(b, B::Step(k)), 1);
    }
    ptx::WgmmaCommit();
  }

  __device__ __forceinline__ void Update(Fragments& weighted, int s,
                                         State& state) {
    using B = tile::ColumnOperand<kSsdChunk, kN>;
    const uint64_t b = B::Descriptor(ptx::SharedAddress(shared_.stages[s].b));
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

  __device__ __forceinline__ void Store(const Output& y, int k, int valid) {
    uint8_t* out = shared_.out[h_];
    const uint32_t base = ptx::SharedAddress(out);
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      ptx::StoreMatrix4Transposed(SsdTransposedRow(base, warp_, q),
                                  ptx::PackBf16(y[8 * q], y[8 * q + 1]),
                                  ptx::PackBf16(y[8 * q + 2], y[8 * q + 3]),
                                  ptx::PackBf16(y[8 * q + 4], y[8 * q + 5]),
                                  ptx::PackBf16(y[8 * q + 6], y[8 * q + 7]));
    }
    ptx::FenceProxyAsync();
    Barrier();
    const int row = work_.row + k * kSsdChunk, head = work_.head + h_;
    if (valid >= kSsdChunk) {
      if (thread_ == 0) {
        ptx::TmaStore3d(&p_.y, out, 0, head, row);
        ptx::TmaCommit();
      }
      return;
    }
    for (int i = thread_; i < valid * 8; i += 128) {
      *reinterpret_cast<uint4*>(p_.out + (row + i / 8) * p_.out_stride +
                                head * kSsdHeadDim + i % 8 * 8) =
          *reinterpret_cast<const uint4*>(out +
                                          SsdHeadTile::Chunk(i / 8, i % 8));
    }
  }

  __device__ __forceinline__ static float Low(uint32_t pair) {
    return __uint_as_float(pair << 16);
  }
  __device__ __forceinline__ static float High(uint32_t pair) {
    return __uint_as_float(pair & 0xFFFF0000u);
  }
  __device__ __forceinline__ void Barrier() const {
    ptx::NamedBarrierSync(1 + h_, 128);
  }

  const SsdForwardParams& p_;
  Shared& shared_;
  const SsdUnitWork& work_;
  const int h_, thread_, lane_, warp_;
  float skip_ = 0;
};

template <class C>
__global__ __launch_bounds__(128 * (C::kHeads + 1), 1) void SsdForwardKernel(
    const __grid_constant__ SsdForwardParams p) {
  using Shared = SsdForwardShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const SsdUnitWork work(p, p.unit, blockIdx.x, C::kHeads);
  if (!work.unit.exists) return;
  if (threadIdx.x == 0) {
    SsdInitRing(shared.full, shared.empty, 1 + 32 * C::kHeads, 128 * C::kHeads);
    ptx::FenceMbarrierInit();
  }
  __syncthreads();
  // Uniform over a warp, and known to be.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    if (C::kHeads > 1) ptx::DecreaseRegisters<56>();
    const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
    if (warp == 0) {
      if (threadIdx.x == 0) {
        SsdForwardProducer<C>::Load(p, shared, work);
      }
    } else if (warp <= C::kHeads) {
      SsdForwardProducer<C>::Decays(p, shared, work, warp - 1);
    }
  } else {
    if (C::kHeads > 1) ptx::IncreaseRegisters<224>();
    SsdForwardConsumer<C>(p, shared, work, warpgroup - 1).Run();
  }
}

}  // namespace intarsia::sm90
