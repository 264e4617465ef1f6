// The consumers of sm90_mla_decode.cu: one warpgroup of scores, two of outputs.
#pragma once

#include "intarsia/cuda/ptx/barrier.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/quad.cuh"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/attention/sm90_mla_fetch.cuh"
#include "intarsia/mixers/attention/sm90_online_softmax.cuh"

namespace intarsia::mla {

// What the two kinds of consumer share: their rows and the buffer at hand.
template <int kCluster>
struct Consumer {
  __device__ __forceinline__ Consumer(const Params& params, Shared& memory)
      : p(params), shared(memory) {}

  // Read anew each time: the accumulators leave no register to remember it.
  __device__ __forceinline__ static int thread() {
    int index;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
    return index % 128;
  }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  // The 64 rows of this block among all.
  __device__ __forceinline__ static int block_rows() {
    int x;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(x));
    return (blockIdx.y * kCluster + x % kCluster) * kRows;
  }

  __device__ __forceinline__ const TileInfo& info() const {
    return shared.info[ring.stage];
  }
  // This thread's first row of two, eight apart, in the block and in all.
  __device__ __forceinline__ static int row() {
    const int t = thread();
    return t / 32 * 16 + t % 32 / 4;
  }
  // The first row of the block in the workspace.
  __device__ __forceinline__ int64_t PartialRow(int part) const {
    return ((int64_t{blockIdx.y} * p.workers * 2 + part) * kCluster +
            blockIdx.x % kCluster) *
           kRows;
  }

  const Params& p;
  Shared& shared;
  tile::RingPosition<kStages> ring;
};

template <int kCluster>
class ScoreConsumer : Consumer<kCluster> {
  using Base = Consumer<kCluster>;
  using Base::block_rows;
  using Base::info;
  using Base::lane;
  using Base::p;
  using Base::PartialRow;
  using Base::ring;
  using Base::row;
  using Base::shared;
  using Base::thread;

 public:
  __device__ __forceinline__ ScoreConsumer(const Params& params, Shared& memory)
      : Base(params, memory) {}

  __device__ __forceinline__ void Run() {
    while (info().sequence >= 0) Part();
    ptx::MbarrierArrive(&shared.weights[ring.stage]);
  }

 private:
  using Scores = float[kTile / 2];
  using Softmax = OnlineSoftmax<0, true>;
  static constexpr int kSteps = kValue / 16 - 1;  // whose Q is in registers

  // From a part's first tile, which has been announced, to that of the next.
  __device__ __forceinline__ void Part() {
    uint32_t q[4 * kSteps];
    LoadQ(q);
    Softmax softmax(p.scale_log2);
    softmax.Start();
    bool holding = false;  // the weights of the tile before
    const int t = thread();
    while (true) {
      const bool last = info().last();
      // How many of its latents are the sequence's.
      const int valid = info().length - info().number * kTile;
      Scores s;
      Multiply(q, s);
      if (holding) {
        ptx::WgmmaWait<1>();
        HandOver();
      }
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(s);
      ApplyMask(valid, s);
      bool rescale = softmax.Next(s);
      float scale[2] = {softmax.scale(0), softmax.scale(1)};
      if (last) Finish(softmax, s, scale, &rescale);
      const uint32_t stage = ring.stage;
      ring.Next();
      // Else there is nothing to hide behind: the end, or latents that are
      // late.
      holding =
          !last && ptx::MbarrierTest(&shared.full[ring.stage][0], ring.phase);
      // All warps are done with the tile as an operand.
      ptx::NamedBarrierSync(1, 128);
      StoreWeights(s, stage, t);
      if (t % 32 == 0) shared.rescale[stage][t / 32] = rescale;
      if (rescale && t % 4 == 0) {
        float* to = &shared.scale[stage][t / 32 * 16 + t % 32 / 4];
        to[0] = scale[0];
        to[8] = scale[1];
      }
      if (last) ClearPastEnd(valid, stage);
      ptx::FenceProxyAsync();
      if (!holding) {
        HandOver();
        ptx::MbarrierWait(&shared.full[ring.stage][0], ring.phase);
      }
      if (last) return;
    }
  }

  // The weights of the tile before this one.
  __device__ __forceinline__ void HandOver() {
    ptx::MbarrierArrive(
        &shared.weights[ring.stage == 0 ? kStages - 1 : ring.stage - 1]);
  }

  // Rows of later query tokens see more.
  __device__ __forceinline__ void ApplyMask(int valid, Scores& s) {
    const int seen = valid - p.a.query_tokens + 1;  // by the first token
    if (seen >= kTile) return;
    int limit[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      limit[r] =
          seen + (block_rows() + row() + 8 * r) / p.a.heads - 2 * (lane() % 4);
    }
#pragma unroll
    for (int i = 0; i < kTile / 2; ++i) {
      if (tile::ColumnOf(i) >= limit[tile::RowOf(i)]) s[i] = -INFINITY;
    }
  }

  // Rows past the last repeat it; nobody reads their results.
  __device__ __forceinline__ void LoadQ(uint32_t (&q)[4 * kSteps]) {
    const __nv_bfloat16* first =
        p.a.q + (int64_t{info().sequence} * p.rows + block_rows()) * kKey;
    const int last = p.rows - block_rows() - 1;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = thread() / 8 + 16 * i, chunk = thread() % 8;
      *reinterpret_cast<uint4*>(shared.q_rotated +
                                tile::SwizzledChunk(r, chunk)) =
          *reinterpret_cast<const uint4*>(first + min(r, last) * kKey + kValue +
                                          8 * chunk);
    }
    {
      const int r = thread() / 2, chunk = thread() % 2;
      *reinterpret_cast<uint4*>(shared.q_step + r / 8 * 256 + chunk * 128 +
                                r % 8 * 16) =
          *reinterpret_cast<const uint4*>(first + min(r, last) * kKey +
                                          16 * kSteps + 8 * chunk);
    }
    ptx::FenceProxyAsync();
    ptx::NamedBarrierSync(1, 128);
    // A quad takes 64 bytes of a row, 16 a lane, and shares them out.
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const __nv_bfloat16* from =
          first + min(row() + 8 * r, last) * kKey + 8 * (lane() % 4);
#pragma unroll
      for (int k = 0; k < kSteps; k += 2) {
        // Part by part: all loads at once would not fit the registers.
        if (r == 1 && k % 16 == 0) ptx::NamedBarrierSync(1, 128);
        const cuda::Vec16 x = cuda::LoadVec(from + 16 * k);
        const uint4 y = tile::TransposeQuad(x.word[0], x.word[1], x.word[2],
                                            x.word[3], lane());
        q[4 * k + r] = y.x;
        q[4 * k + 2 + r] = y.y;
        if (k + 1 < kSteps) {
          q[4 * k + 4 + r] = y.z;
          q[4 * k + 6 + r] = y.w;
        }
      }
    }
  }

  __device__ __forceinline__ void Multiply(uint32_t (&q)[4 * kSteps],
                                           Scores& s) {
    using A = tile::RowOperand<kRows, tile::kPanelColumns>;
    using B = tile::RowOperand<kTile, kKey>;
    const uint64_t a = A::Descriptor(ptx::SharedAddress(shared.q_rotated));
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared.latents[ring.stage]));
    ptx::MbarrierWait(&shared.full[ring.stage][0], ring.phase);
    ptx::FenceRegisters(s);
    ptx::FenceRegisters(q);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      if (k % 12 == 0 && k > 0) {
        ptx::MbarrierWait(&shared.full[ring.stage][k / 12], ring.phase);
        ptx::WgmmaFence();
      }
      ptx::Wgmma<kTile>::Register<B::kTranspose>(
          s, q[4 * k], q[4 * k + 1], q[4 * k + 2], q[4 * k + 3],
          ptx::Advance(b, B::Step(k)), k > 0);
    }
    ptx::WgmmaCommit();
    ptx::Wgmma<kTile>::Shared<0, B::kTranspose>(
        s,
        ptx::WgmmaPlainDescriptor(ptx::SharedAddress(shared.q_step), 128, 256),
        ptx::Advance(b, B::Step(kSteps)), 1);
#pragma unroll
    for (int k = 0; k < A::kSteps; ++k) {
      ptx::Wgmma<kTile>::Shared<0, B::kTranspose>(
          s, ptx::Advance(a, A::Step(k)),
          ptx::Advance(b, B::Step(kSteps + 1 + k)), 1);
    }
    ptx::WgmmaCommit();
  }

  __device__ __forceinline__ void StoreWeights(const Scores& s, uint32_t stage,
                                               int t) {
    // Columns 16 further on are chunk ^ 2 in the swizzle.
    const uint32_t first =
        ptx::SharedAddress(shared.latents[stage] + kRotated) +
        Panel::Chunk(t / 32 * 16 + t % 16, t % 32 / 16);
#pragma unroll
    for (int i = 0; i < kTile / 2; i += 8) {
      ptx::StoreMatrix4(first ^ (i / 8 * 32), ptx::PackBf16(s[i], s[i + 1]),
                        ptx::PackBf16(s[i + 2], s[i + 3]),
                        ptx::PackBf16(s[i + 4], s[i + 5]),
                        ptx::PackBf16(s[i + 6], s[i + 7]));
    }
  }

  // With the last tile of a part, P and the scale of O include 1 / sum.
  __device__ __forceinline__ void Finish(Softmax& softmax, Scores& s,
                                         float (&scale)[2], bool* rescale) {
    float inverse[2], lse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      softmax.Finish(r, &inverse[r], &lse[r]);
      scale[r] = *rescale ? scale[r] * inverse[r] : inverse[r];
    }
    *rescale = true;
#pragma unroll
    for (int i = 0; i < kTile / 2; ++i) s[i] *= inverse[tile::RowOf(i)];
    StoreLogSum(lse[0], lse[1]);
  }

  // A weight of 0 does not silence a NaN past the sequence's end.
  __device__ __forceinline__ void ClearPastEnd(int valid, uint32_t stage) {
    uint8_t* latents = shared.latents[stage];
    constexpr int kChunks = kValue / 8;
    for (int i = thread(); i < (kTile - valid) * kChunks; i += 128) {
      const int r = valid + i / kChunks;
      *reinterpret_cast<uint4*>(latents + LatentTile::Chunk(r, i % kChunks)) =
          uint4{0, 0, 0, 0};
    }
  }

  __device__ __forceinline__ void StoreLogSum(float first, float second) {
    if (lane() % 4 != 0) return;
    const int r = row();
    if (info().slot() >= 0) {
      float* to = p.partial_lse + PartialRow(info().slot()) + r;
      to[0] = first;
      to[8] = second;
    } else if (p.a.lse != nullptr) {
      const int in_all = block_rows() + r;
      float* to = p.a.lse + int64_t{info().sequence} * p.rows + in_all;
      if (in_all < p.rows) to[0] = first;
      if (in_all + 8 < p.rows) to[8] = second;
    }
  }
};

template <int kCluster>
class OutputConsumer : Consumer<kCluster> {
  using Base = Consumer<kCluster>;
  using Base::block_rows;
  using Base::info;
  using Base::lane;
  using Base::p;
  using Base::PartialRow;
  using Base::ring;
  using Base::row;
  using Base::shared;
  using Base::thread;

 public:
  __device__ __forceinline__ OutputConsumer(const Params& params,
                                            Shared& memory, int half)
      : Base(params, memory), half_(half) {}

  __device__ __forceinline__ void Run() {
    Output o;
    while (true) {
      ptx::MbarrierWait(&shared.weights[ring.stage], ring.phase);
      const int sequence = info().sequence, slot = info().slot();
      const bool first = info().first(), last = info().last();
      if (sequence < 0) break;
      if (!first && shared.rescale[ring.stage][thread() / 32]) {
        Scale(o, shared.scale[ring.stage]);
      }
      Multiply(o, !first);
      const bool fetches = half_ == 0 && thread() == 0;
      if (fetches) Fetcher<kCluster>(p, shared).Prepare();
      __syncwarp();
      ptx::WgmmaWait<0>();
      ptx::FenceRegisters(o);
      Release();
      if (fetches) {
        ptx::MbarrierWait(&shared.empty[ring.stage], ring.phase);
        Fetcher<kCluster>(p, shared).Issue(ring.stage);
      }
      __syncwarp();
      ring.Next();
      if (!last) continue;
      if (slot >= 0) {
        StorePartial(o, slot);
      } else {
        StoreWhole(o, sequence);
      }
    }
  }

 private:
  static constexpr int kChannels = kValue / 2;
  using Output = float[kChannels / 2];

  // This warp no longer reads the buffer. The peer wants to know too, since
  // what it copies lands here.
  __device__ __forceinline__ void Release() {
    ptx::MbarrierArrive(&shared.empty[ring.stage]);
    if constexpr (kCluster > 1) {
      __syncwarp();
      if (lane() == 0) {
        ptx::MbarrierArriveClusterRelaxed(
            ptx::MapToRank(ptx::SharedAddress(&shared.empty[ring.stage]),
                           ptx::ClusterRank() ^ 1));
      }
    }
  }

  __device__ __forceinline__ void Scale(Output& o, const float* of_rows) {
    const int r = row();
    const float scale[2] = {of_rows[r], of_rows[r + 8]};
#pragma unroll
    for (int i = 0; i < kChannels / 2; ++i) o[i] *= scale[tile::RowOf(i)];
  }

  __device__ __forceinline__ void Multiply(Output& o, bool accumulate) {
    using A = tile::RowOperand<kRows, kTile>;
    using B = tile::ColumnOperand<kTile, kChannels>;
    const uint32_t latents = ptx::SharedAddress(shared.latents[ring.stage]);
    const uint64_t a = A::Descriptor(latents + kRotated);
    const uint64_t b = B::Descriptor(latents + half_ * B::Tile::kBytes);
    ptx::FenceRegisters(o);
    ptx::WgmmaFence();
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      ptx::Wgmma<kChannels>::template Shared<0, B::kTranspose>(
          o, ptx::Advance(a, A::Step(k)), ptx::Advance(b, B::Step(k)),
          accumulate || k > 0);
    }
    ptx::WgmmaCommit();
  }

  __device__ __forceinline__ void StorePartial(const Output& o, int slot) {
    float* out = p.partial_out + (PartialRow(slot) + row()) * kValue +
                 half_ * kChannels + 2 * (lane() % 4);
#pragma unroll
    for (int i = 0; i < kChannels / 2; i += 2) {
      *reinterpret_cast<float2*>(out + tile::RowOf(i) * 8 * kValue +
                                 tile::ColumnOf(i)) =
          make_float2(o[i], o[i + 1]);
    }
  }

  __device__ __forceinline__ void StoreWhole(const Output& o, int sequence) {
    const int in_all = block_rows() + row();
    const int l = lane();
    __nv_bfloat16* out = p.a.out +
                         (int64_t{sequence} * p.rows + in_all) * kValue +
                         half_ * kChannels + 8 * (l % 4);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool valid = in_all + 8 * r < p.rows;
#pragma unroll
      for (int i = 2 * r; i < kChannels / 2; i += 16) {
        const float* f = &o[i];
        const uint4 x = tile::TransposeQuad(
            ptx::PackBf16(f[0], f[1]), ptx::PackBf16(f[4], f[5]),
            ptx::PackBf16(f[8], f[9]), ptx::PackBf16(f[12], f[13]), l);
        if (valid) {
          *reinterpret_cast<uint4*>(out + 8 * r * kValue + i / 16 * 32) = x;
        }
      }
    }
  }

  const int half_;
};

}  // namespace intarsia::mla
