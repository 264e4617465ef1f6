// The gradients of a chunk, for all heads of a group, given for each head the
// state S before the chunk and the gradient R of the state after it. With
// E[i, j] = 2^(c_i - c_j) d_j for j <= i (targets i, sources j), G = C B^T:
//   targets' warpgroup                 sources' warpgroup
//   P    = dY X^T                      dX  = rows scaled (B R^T)
//   W   += E P         (all heads)     dX += (E G)^T dY + D dY
//   dC  += (decayed dY) S              dB += (X scaled) R
// and when all heads are through, dC += W B and dB += W^T C. The sums over
// heads stay in registers: nothing is added in memory, and every run gives the
// same bits. From T = G E P come the gradients of steps and decays; a helper
// warp finishes them (sm90_ssd_gradients_load.cuh).
#pragma once

#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/cuda/tile/rows.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_gradients_load.cuh"

namespace intarsia::sm90 {

// What both warpgroups do in the same way.
template <class C>
class SsdGradientConsumer {
 public:
  using Shared = SsdGradientShared<C>;
  using WideTile = typename Shared::WideTile;
  using Wide = float[C::kN / 2];
  using Square = float[32];
  using Fragments = uint32_t[16];
  static constexpr int kN = C::kN;

  __device__ __forceinline__ SsdGradientConsumer(const SsdGradientParams& p,
                                                 Shared& shared,
                                                 const SsdGradientWork& work,
                                                 int barrier)
      : p_(p),
        shared_(shared),
        work_(work),
        barrier_(barrier),
        lane_(threadIdx.x % 32),
        warp_(Uniform(threadIdx.x / 32 % 4)),
        thread_(threadIdx.x % 128),
        row_(warp_ * 16 + lane_ / 4) {}

 protected:
  __device__ __forceinline__ void Barrier() const {
    ptx::NamedBarrierSync(barrier_, 128);
  }

  // All heads in order: use(head, stage, decay, sums) reads what lies in shared
  // memory for one and writes its sums; then(head) comes when they are let go.
  template <class Use, class Then>
  __device__ __forceinline__ void ForEachHead(Use&& use, Then&& then) {
    tile::RingPosition<C::kStages> ring;
    tile::RingPosition<2> slot;
    for (int h = 0; h < work_.heads; ++h, ring.Next(), slot.Next()) {
      const int s = Uniform(ring.stage), t = Uniform(slot.stage);
      ptx::MbarrierWait(&shared_.full[s], ring.phase);
      ptx::MbarrierWait(&shared_.sums_empty[t], slot.phase ^ 1);
      Clean(shared_.stages[s], t);
      use(work_.head + h, shared_.stages[s], shared_.decay[s], shared_.sums[t]);
      ptx::MbarrierArrive(&shared_.empty[s]);
      ptx::MbarrierArrive(&shared_.sums_full[t]);
      then(work_.head + h);
    }
  }

  // G (A = C, B = B) or its transpose, as pairs of bf16.
  __device__ __forceinline__ static void Scores(const uint8_t* a,
                                                const uint8_t* b,
                                                Fragments& out) {
    Square g;
    MultiplyShared<kN>(a, b, g);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(g);
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i] = ptx::PackBf16(g[2 * i], g[2 * i + 1]);
  }

  // d = A B^T, both of 64 rows and kK columns; one committed group.
  template <int kK>
  __device__ __forceinline__ static void MultiplyShared(const uint8_t* a,
                                                        const uint8_t* b,
                                                        Square& d) {
    using Operand = tile::RowOperand<kSsdChunk, kK>;
    const uint64_t x = Operand::Descriptor(ptx::SharedAddress(a));
    const uint64_t y = Operand::Descriptor(ptx::SharedAddress(b));
    ptx::FenceRegisters(d);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < Operand::kSteps; ++k) {
      ptx::Wgmma<64>::Shared<0, 0>(d, ptx::Advance(x, Operand::Step(k)),
                                   ptx::Advance(y, Operand::Step(k)), k > 0);
    }
    ptx::WgmmaCommit();
  }

  // d (+)= A B: A of 64 x 64 from registers, B of 64 rows and kColumns columns.
  template <int kColumns, class Operand, int kCount>
  __device__ __forceinline__ static void Multiply(Fragments& a,
                                                  const uint8_t* b,
                                                  float (&d)[kCount],
                                                  bool accumulate) {
    const uint64_t y = Operand::Descriptor(ptx::SharedAddress(b));
    ptx::FenceRegisters(a);
    ptx::FenceRegisters(d);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      ptx::Wgmma<kColumns>::template Register<Operand::kTranspose>(
          d, a[4 * k], a[4 * k + 1], a[4 * k + 2], a[4 * k + 3],
          ptx::Advance(y, Operand::Step(k)), accumulate || k > 0);
    }
    ptx::WgmmaCommit();
  }
  // B's rows are K.
  template <int kColumns, int kCount>
  __device__ __forceinline__ static void MultiplyRows(Fragments& a,
                                                      const uint8_t* b,
                                                      float (&d)[kCount],
                                                      bool accumulate = true) {
    Multiply<kColumns, tile::ColumnOperand<kSsdChunk, kColumns>>(a, b, d,
                                                                 accumulate);
  }

  // This warp's 16 rows of a 64 x 64 tile as A.
  __device__ __forceinline__ void LoadRows(const uint8_t* tile,
                                           Fragments& out) const {
    const uint32_t base = ptx::SharedAddress(tile);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t part[4];
      ptx::LoadMatrix4(part, base + SsdHeadTile::Chunk(warp_ * 16 + lane_ % 16,
                                                       2 * k + lane_ / 16));
#pragma unroll
      for (int i = 0; i < 4; ++i) out[4 * k + i] = part[i];
    }
  }
  __device__ __forceinline__ static void ScaleRows(const Fragments& from,
                                                   float scale0, float scale1,
                                                   Fragments& to) {
    const uint32_t pair0 = ptx::PackBf16(scale0, scale0);
    const uint32_t pair1 = ptx::PackBf16(scale1, scale1);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      to[i] = MultiplyBf16x2(from[i], i % 2 ? pair1 : pair0);
    }
  }
  // Sum over this row's columns of a times b, for the thread's two rows.
  __device__ __forceinline__ static float2 RowProducts(const Square& a,
                                                       const Fragments& b) {
    float sum[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      sum[i % 2] = fmaf(a[2 * i], Low(b[i]), sum[i % 2]);
      sum[i % 2] = fmaf(a[2 * i + 1], High(b[i]), sum[i % 2]);
    }
    return {tile::QuadSum(sum[0]), tile::QuadSum(sum[1])};
  }

  // The rows of a chunk of dB or dC.
  __device__ __forceinline__ void StoreWide(const Wide& d, __nv_bfloat16* out,
                                            int64_t stride) const {
#pragma unroll
    for (int i = 0; i < kN / 2; i += 2) {
      const int row = row_ + (i & 2) * 4;
      if (row >= work_.valid) continue;
      *reinterpret_cast<uint32_t*>(
          out + (work_.row + row) * stride + work_.group * kN + (i >> 2) * 8 +
          2 * (lane_ % 4)) = ptx::PackBf16(d[i], d[i + 1]);
    }
  }

  // Rows of a partial chunk that belong to somebody else. Each warpgroup zeroes
  // the tile that it also reads by itself, tells the other one, and waits for
  // it. Nobody gets two heads ahead, so two pairs of barriers take turns.
  __device__ __forceinline__ void Clean(typename Shared::Stage& stage,
                                        int slot) {
    if (work_.valid == kSsdChunk) return;
    SsdZeroRows<SsdHeadTile>(barrier_ == 1 ? stage.dy : stage.x, work_.valid);
    ptx::FenceProxyAsync();
    ptx::NamedBarrierArrive(4 + barrier_ + 2 * slot, 256);
    ptx::NamedBarrierSync(7 - barrier_ + 2 * slot, 256);
  }

  __device__ __forceinline__ static float Low(uint32_t pair) {
    return __uint_as_float(pair << 16);
  }
  __device__ __forceinline__ static float High(uint32_t pair) {
    return __uint_as_float(pair & 0xFFFF0000u);
  }

  const SsdGradientParams& p_;
  Shared& shared_;
  const SsdGradientWork& work_;
  const int barrier_, lane_, warp_, thread_, row_;
};

template <class C>
class SsdTargets : SsdGradientConsumer<C> {
 public:
  using Base = SsdGradientConsumer<C>;
  using typename Base::Fragments;
  using typename Base::Shared;
  using typename Base::Square;
  using typename Base::Wide;
  static constexpr int kN = C::kN;

  __device__ __forceinline__ SsdTargets(const SsdGradientParams& p,
                                        Shared& shared,
                                        const SsdGradientWork& work)
      : Base(p, shared, work, 1) {}

  __device__ __forceinline__ void Run() {
    Fragments scores;
    Base::Scores(shared_.c, shared_.b, scores);
    Wide dc;
    Square weights;
#pragma unroll
    for (float& x : dc) x = 0;
#pragma unroll
    for (float& x : weights) x = 0;
    this->ForEachHead(
        [&](int, typename Shared::Stage& stage, const SsdDecay& decay,
            SsdGradientSums& sums) {
          Head(stage, decay, scores, weights, dc, sums);
        },
        [](int) {});
    Fragments packed;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      packed[i] = ptx::PackBf16(weights[2 * i], weights[2 * i + 1]);
    }
    const uint32_t to = ptx::SharedAddress(shared_.weights);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      ptx::StoreMatrix4(
          to + SsdHeadTile::Chunk(warp_ * 16 + lane_ % 16, 2 * k + lane_ / 16),
          packed[4 * k], packed[4 * k + 1], packed[4 * k + 2],
          packed[4 * k + 3]);
    }
    ptx::NamedBarrierArrive(4, 256);
    Base::template MultiplyRows<kN>(packed, shared_.b, dc);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(dc);
    this->StoreWide(dc, p_.dc, p_.dc_stride);
  }

 private:
  using Base::lane_;
  using Base::p_;
  using Base::row_;
  using Base::shared_;
  using Base::warp_;
  using Base::work_;

  __device__ __forceinline__ void Head(typename Shared::Stage& stage,
                                       const SsdDecay& decay,
                                       const Fragments& scores, Square& weights,
                                       Wide& dc, SsdGradientSums& sums) {
    // In an order that keeps registers few: P and `before` never live together.
    const float grown0 = decay.grown[row_], grown1 = decay.grown[row_ + 8];
    Square p;
    Base::template MultiplyShared<kSsdHeadDim>(stage.dy, stage.x, p);
    Fragments dy, decayed;
    this->LoadRows(stage.dy, dy);
    Base::ScaleRows(dy, grown0, grown1, decayed);
    Base::template MultiplyRows<kN>(decayed, stage.state, dc);
    ptx::WgmmaWait<1>();
    ptx::FenceRegisters(p);
    float targets[2] = {0, 0};
    Pairs(decay, scores, p, weights, targets, sums);
    Square before;
    Base::template MultiplyShared<kN>(shared_.c, stage.state, before);
    this->LoadRows(stage.dy, dy);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(before);
    ptx::FenceRegisters(dc);
    const float2 product = Base::RowProducts(before, dy);
    targets[0] = tile::QuadSum(targets[0]) + grown0 * product.x;
    targets[1] = tile::QuadSum(targets[1]) + grown1 * product.y;
    if (lane_ % 4 == 0) {
      sums.targets[row_] = targets[0];
      sums.targets[row_ + 8] = targets[1];
    }
  }

  // W += E P; sums of T = G E P below the diagonal along both directions.
  __device__ __forceinline__ void Pairs(const SsdDecay& decay,
                                        const Fragments& scores,
                                        const Square& p, Square& weights,
                                        float (&targets)[2],
                                        SsdGradientSums& sums) {
    const float sum0 = decay.sum[row_], sum1 = decay.sum[row_ + 8];
    float sources[16];
#pragma unroll
    for (float& x : sources) x = 0;
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      if (q > warp_) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 source = reinterpret_cast<const float2*>(
            decay.source)[8 * q + 4 * half + lane_ % 4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int r = i / 2, b = i % 2, at = 8 * q + 4 * half + i;
          const uint32_t pair = scores[4 * q + 2 * half + r];
          const float g = b ? Base::High(pair) : Base::Low(pair);
          float e = (r ? sum1 : sum0) - (b ? source.y : source.x);
          const int beyond =
              8 * half + 2 * (lane_ % 4) + b - (lane_ / 4 + 8 * r);
          if (q == warp_ && beyond > 0) e = -INFINITY;
          const float weight = ptx::Exp2(e) * p[at];
          weights[at] += weight;
          float t = g * weight;
          if (q == warp_ && beyond == 0) {
            sums.diagonal[row_ + 8 * r] = t;
            sums.skip[row_ + 8 * r] = p[at];
            t = 0;
          }
          targets[r] += t;
          sources[4 * q + 2 * half + b] += t;
        }
      }
    }
    // Over the eight rows of a quad's lanes; each step halves the columns.
    Halve<8>(sources, 16);
    Halve<4>(sources, 8);
    Halve<2>(sources, 4);
    const int first = (lane_ & 16) / 16 * 4 + (lane_ & 8) / 8 * 2 +
                      (lane_ & 4) / 4;  // of the eight 8-column blocks
    reinterpret_cast<float2*>(sums.sources[warp_])[4 * first + lane_ % 4] = {
        sources[0], sources[1]};
  }
  // Keeps kCount sums and gives as many to the lane `step` away.
  template <int kCount>
  __device__ __forceinline__ void Halve(float (&sums)[16], int step) const {
    const bool upper = lane_ & step;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float give = upper ? sums[i] : sums[kCount + i];
      const float keep = upper ? sums[kCount + i] : sums[i];
      sums[i] = keep + __shfl_xor_sync(~0u, give, step);
    }
  }
};

template <class C>
class SsdSources : SsdGradientConsumer<C> {
 public:
  using Base = SsdGradientConsumer<C>;
  using typename Base::Fragments;
  using typename Base::Shared;
  using typename Base::Square;
  using typename Base::Wide;
  static constexpr int kN = C::kN;

  __device__ __forceinline__ SsdSources(const SsdGradientParams& p,
                                        Shared& shared,
                                        const SsdGradientWork& work)
      : Base(p, shared, work, 2) {}

  __device__ __forceinline__ void Run() {
    Fragments scores;
    Base::Scores(shared_.b, shared_.c, scores);
    Wide db;
#pragma unroll
    for (float& x : db) x = 0;
    Square dx;
    this->ForEachHead(
        [&](int head, typename Shared::Stage& stage, const SsdDecay& decay,
            SsdGradientSums& sums) {
          Head(head, stage, decay, scores, dx, db, sums);
        },
        [&](int head) { Store(dx, head); });
    ptx::NamedBarrierSync(4, 256);
    Fragments weights;
    SsdLoadTransposed(weights, ptx::SharedAddress(shared_.weights), warp_);
    Base::template MultiplyRows<kN>(weights, shared_.c, db);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(db);
    this->StoreWide(db, p_.db, p_.db_stride);
    if (thread_ == 0) ptx::TmaWait<0>();
  }

 private:
  using Base::lane_;
  using Base::p_;
  using Base::row_;
  using Base::shared_;
  using Base::thread_;
  using Base::warp_;
  using Base::work_;

  __device__ __forceinline__ void Head(int head, typename Shared::Stage& stage,
                                       const SsdDecay& decay,
                                       const Fragments& scores, Square& dx,
                                       Wide& db, SsdGradientSums& sums) {
    Fragments x, weighted, pairs;
    this->LoadRows(stage.x, x);
    const float last = decay.sum[kSsdChunk - 1];
    const float left0 = ptx::Exp2(last - decay.source[row_]);
    const float left1 = ptx::Exp2(last - decay.source[row_ + 8]);
    Base::ScaleRows(x, left0, left1, weighted);
    Base::template MultiplyShared<kN>(shared_.b, stage.gradient, dx);
    Pairs(decay, scores, p_.skip == nullptr ? 0.0f : p_.skip[head], pairs);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(dx);
#pragma unroll
    for (int i = 0; i < 32; ++i) dx[i] *= tile::RowOf(i) ? left1 : left0;
    const float2 later = Base::RowProducts(dx, x);
    if (lane_ % 4 == 0) {
      sums.later[row_] = later.x;
      sums.later[row_ + 8] = later.y;
    }
    Base::template MultiplyRows<kSsdHeadDim>(pairs, stage.dy, dx);
    Base::template MultiplyRows<kN>(weighted, stage.gradient, db);
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(dx);
    ptx::FenceRegisters(db);
  }

  // (E G)^T with D on the diagonal, as A: rows are sources.
  __device__ __forceinline__ void Pairs(const SsdDecay& decay,
                                        const Fragments& scores, float skip,
                                        Fragments& pairs) const {
    const float source0 = decay.source[row_], source1 = decay.source[row_ + 8];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 sum = reinterpret_cast<const float2*>(
            decay.sum)[8 * q + 4 * half + lane_ % 4];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int at = 4 * q + 2 * half + r;
          const int row = lane_ / 4 + 8 * r;
          const int column = 8 * half + 2 * (lane_ % 4);
          float value[2] = {0, 0};
          if (q >= warp_) {
#pragma unroll
            for (int b = 0; b < 2; ++b) {
              float e = (b ? sum.y : sum.x) - (r ? source1 : source0);
              if (q == warp_ && column + b < row) e = -INFINITY;
              value[b] = ptx::Exp2(e) *
                         (b ? Base::High(scores[at]) : Base::Low(scores[at]));
              if (q == warp_ && column + b == row) value[b] += skip;
            }
          }
          pairs[at] = ptx::PackBf16(value[0], value[1]);
        }
      }
    }
  }

  __device__ __forceinline__ void Store(const Square& dx, int head) {
    if (thread_ == 0) ptx::TmaWaitRead<0>();  // of the head before
    this->Barrier();
    const uint32_t base = ptx::SharedAddress(shared_.dx);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      ptx::StoreMatrix4(base + SsdHeadTile::Chunk(warp_ * 16 + lane_ % 16,
                                                  2 * k + lane_ / 16),
                        ptx::PackBf16(dx[8 * k], dx[8 * k + 1]),
                        ptx::PackBf16(dx[8 * k + 2], dx[8 * k + 3]),
                        ptx::PackBf16(dx[8 * k + 4], dx[8 * k + 5]),
                        ptx::PackBf16(dx[8 * k + 6], dx[8 * k + 7]));
    }
    ptx::FenceProxyAsync();
    this->Barrier();
    if (work_.valid == kSsdChunk) {
      if (thread_ == 0) {
        ptx::TmaStore3d(&p_.dx, shared_.dx, 0, head, work_.row);
        ptx::TmaCommit();
      }
      return;
    }
    for (int i = thread_; i < work_.valid * 8; i += 128) {
      *reinterpret_cast<uint4*>(p_.dx_out + (work_.row + i / 8) * p_.dx_stride +
                                head * kSsdHeadDim + i % 8 * 8) =
          *reinterpret_cast<const uint4*>(shared_.dx +
                                          SsdHeadTile::Chunk(i / 8, i % 8));
    }
  }
};

template <class C>
__global__ __launch_bounds__(384, 1) void SsdGradientKernel(
    const __grid_constant__ SsdGradientParams p) {
  using Shared = SsdGradientShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const SsdGradientWork work(p);
  if (work.valid <= 0) {
    for (int h = threadIdx.x; h < work.heads; h += 384) {
      p.partial[int64_t{work.number} * p.heads + work.head + h] = {0, 0, 0, 0};
    }
    return;
  }
  if (threadIdx.x == 0) {
    ptx::MbarrierInit(&shared.wide_full, 1);
    // The copies, the decays; both consumers, the products.
    SsdInitRing(shared.full, shared.empty, 1 + 32, 256 + 32);
    SsdInitRing(shared.sums_full, shared.sums_empty, 256 + 1, 32);
    ptx::FenceMbarrierInit();
  }
  __syncthreads();
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    ptx::DecreaseRegisters<72>();
    const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
    SsdGradientHelper<C> helper(p, shared, work);
    if (warp == 0) {
      if (threadIdx.x == 0) helper.Load();
    } else if (warp == 1) {
      helper.Decays();
    } else if (warp == 2) {
      helper.Products();
    } else {
      helper.Finishes();
    }
  } else {
    ptx::IncreaseRegisters<216>();
    ptx::MbarrierWait(&shared.wide_full, 0);
    if (work.valid < kSsdChunk) {
      SsdZeroRows<typename Shared::WideTile>(
          warpgroup == 1 ? shared.b : shared.c, work.valid);
      ptx::FenceProxyAsync();
    }
    ptx::NamedBarrierSync(3, 256);
    if (warpgroup == 1) {
      SsdTargets<C>(p, shared, work).Run();
    } else {
      SsdSources<C>(p, shared, work).Run();
    }
  }
}

}  // namespace intarsia::sm90
