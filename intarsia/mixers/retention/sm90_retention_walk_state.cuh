// The two warpgroups that hold the state, of the kernel that
// sm90_retention_walk.cuh describes.
#pragma once

#include "intarsia/cuda/ptx/barrier.cuh"
#include "intarsia/cuda/ptx/cluster.cuh"
#include "intarsia/mixers/retention/sm90_retention_walk.cuh"
#include "intarsia/mixers/retention/sm90_retention_walk_scores.cuh"

namespace intarsia::sm90 {

// One of them; w is 0 or 1.
template <class C>
class WalkState {
 public:
  using Shared = WalkShared<C>;

  __device__ __forceinline__ WalkState(const WalkParams& p,
                                       const WalkUnit& unit, Shared& shared,
                                       int w)
      : p_(p),
        unit_(unit),
        shared_(shared),
        w_(w),
        lane_(threadIdx.x % 32),
        warp_row_(threadIdx.x / 32 % 4 * 16),
        leader_(threadIdx.x % 32 == 0),
        first_(threadIdx.x % 128 == 0) {}

  __device__ __forceinline__ void Run() {
    State s;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) s[0][i] = s[1][i] = 0;
    const int64_t size = int64_t{p_.inner} * p_.width;
    const int64_t at = (int64_t{unit_.sequence} * p_.heads + unit_.head) * size;
    const int64_t all = int64_t{p_.sequences} * p_.heads * size;
    if (!C::kStateOnly && p_.initial_state != nullptr) {
      ForState(s, p_.initial_state + at,
               [](float& x, const float* from) { x = *from; });
    }
    if constexpr (!C::kStateOnly) {
      // What the segments before this one add, each from zeros.
      for (int j = 0; j < unit_.segment; ++j) {
        const float decay = Decay(unit_.Tokens(p_, j));
        const float* partial = p_.partial + j * all + at;
        ForState(s, partial, [decay](float& x, const float* from) {
          x = x * decay + *from;
        });
      }
    }
    if (w_ == 0 && unit_.count > 0) MakeScores();
    while (number_ < unit_.count) {
      Chunk(s, unit_.Chunk(p_, number_));
      ++number_;
      key_ring_.Next();
      if (number_ < unit_.count && number_ % 2 == w_) MakeScores();
    }
    float* out = nullptr;
    if constexpr (C::kStateOnly) {
      out = p_.partial + unit_.segment * all + at;
    } else {
      if (unit_.segment == p_.segments - 1) out = p_.final_state;
      if (out != nullptr) out += at;
    }
    if (out != nullptr) {
      ForState(s, out, [](float& x, float* to) { *to = x; });
    }
    if (!C::kStateOnly && first_) ptx::TmaWait<0>();
  }

 private:
  static constexpr int kHalf = C::kInner / 4;  // of a thread's numbers
  static constexpr int kKept = kWalkChunk / 2 / C::kHalves;
  // 64 x kInner: width x inner, in two halves of the columns.
  using State = float[2][kHalf];
  using Output = float[kWalkChunk / 2];     // 64 x 64: width x tokens
  using Values = uint32_t[kWalkChunk / 4];  // 64 x 64 of V^T, in bf16
  using Fragments = uint32_t[kHalf / 2];    // half of the state in bf16

  __device__ __forceinline__ float Decay(int tokens) const {
    return ptx::Exp2(unit_.log2_decay * tokens);
  }

  // Position in the rings of two buffers.
  __device__ __forceinline__ uint32_t stage() const { return number_ % 2; }
  __device__ __forceinline__ uint32_t phase() const { return number_ / 2 % 2; }

  // f(number, address) for those numbers of a head's state at `state` that
  // exist; `Pointer` is float* or const float*.
  template <typename Pointer, typename F>
  __device__ __forceinline__ void ForState(State& s, Pointer state,
                                           const F& f) const {
    const int row = unit_.slice * kWalkWidth + 64 * w_ + warp_row_ + lane_ / 4;
    const int first_inner = unit_.half * C::kInner;
    state += (first_inner + 2 * (lane_ % 4)) * p_.state_inner_stride +
             row * p_.state_width_stride;
    const bool exists[2] = {row < p_.width, row + 8 < p_.width};
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < kHalf; i += 4) {
        // Sizes are multiples of 64: 32 numbers of a thread.
        if (i % 32 == 0 &&
            first_inner + part * C::kInner / 2 + 2 * i >= p_.inner) {
          return;
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          if (exists[r]) {
            Pointer at = state + 8 * r * p_.state_width_stride;
            f(s[part][i + 2 * r], at);
            f(s[part][i + 2 * r + 1], at + p_.state_inner_stride);
          }
        }
        state += 8 * p_.state_inner_stride;
      }
    }
  }

  __device__ __forceinline__ void Chunk(State& s, int chunk) {
    const int valid =
        __shfl_sync(~0u, min(kWalkChunk, unit_.length - chunk * kWalkChunk), 0);
    const float decay = Decay(valid);
    Output o;
    if constexpr (C::kStateOnly) {
#pragma unroll
      for (int i = 0; i < kHalf; ++i) {
        s[0][i] *= decay;
        s[1][i] *= decay;
      }
    } else {
      ptx::MbarrierWait(&shared_.q_full[stage()], phase());
      ReadState<0>(s, o, decay);
      ReadState<1>(s, o, decay);
      Release(&shared_.q_empty[stage()]);
      // O so far is q S; token n sees S through g^(n + 1), or what is left of
      // the chunk after it.
      const int shift = p_.reverse ? kWalkChunk - valid : 0;
#pragma unroll
      for (int j = 0; j < kWalkChunk / 8; ++j) {
        const float2 factor = Factors(shared_.read_factor, 8 * j, shift);
        o[4 * j] *= factor.x;
        o[4 * j + 1] *= factor.y;
        o[4 * j + 2] *= factor.x;
        o[4 * j + 3] *= factor.y;
      }
    }
    ptx::MbarrierWait(&shared_.k_full[key_ring_.stage], key_ring_.phase);
    ptx::MbarrierWait(&shared_.v_full[stage()], phase());
    if (valid < kWalkChunk) ZeroRows(valid);
    Values weighted;
    LoadValues(valid, weighted);
    if constexpr (!C::kStateOnly) {
      ptx::MbarrierWait(&shared_.p_full[stage()], phase());
      MultiplyScores(o);
    }
    UpdateState(weighted, s);
    if constexpr (!C::kStateOnly) {
      ptx::WgmmaWait<1>();
      ptx::FenceRegisters(o);
      Release(&shared_.p_empty[stage()]);
      Release(&shared_.v_empty[stage()]);
      Store(o, chunk * kWalkChunk, valid);
    }
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(s[0]);
    ptx::FenceRegisters(s[1]);
    if (C::kStateOnly) Release(&shared_.v_empty[stage()]);
    Release(&shared_.k_empty[key_ring_.stage]);
  }

  // Of this thread's two tokens from `token` on. A chunk that ends early lacks
  // `shift` steps at its end, so they have what later ones have in a whole one.
  __device__ __forceinline__ float2 Factors(const float (&table)[kWalkChunk],
                                            int token, int shift) const {
    token += 2 * (lane_ % 4) + shift;
    return float2{table[min(token, kWalkChunk - 1)],
                  table[min(token + 1, kWalkChunk - 1)]};
  }

  // P of the chunk that comes next, by one warpgroup for both.
  __device__ __forceinline__ void MakeScores() {
    if constexpr (!C::kStateOnly) {
      WalkScores<C> scores;
      ptx::MbarrierWait(&shared_.k_full[key_ring_.stage], key_ring_.phase);
      ptx::MbarrierWait(&shared_.q_full[stage()], phase());
      scores.Multiply(shared_.q[stage()], shared_.k[key_ring_.stage]);
      Release(&shared_.q_empty[stage()]);
      Release(&shared_.k_empty[key_ring_.stage]);
      ptx::MbarrierWait(&shared_.p_empty[stage()], phase() ^ 1);
      scores.Finish(
          p_, unit_.log2_decay,
          min(kWalkChunk, unit_.length - unit_.Chunk(p_, number_) * kWalkChunk),
          shared_.p[stage()]);
      __syncwarp();
      Release(&shared_.p_full[stage()]);
    }
  }

  __device__ __forceinline__ void Release(uint64_t* barrier) const {
    if (leader_) ptx::MbarrierArrive(barrier);
  }

  // O^T (+)= S^T Q^T over half of the inner dimension; that part of the
  // state then decays. (Not while the tensor cores work on its copy: ptxas
  // wants no accumulator touched while another product is in flight.)
  template <int kPart>
  __device__ __forceinline__ void ReadState(State& s, Output& o, float decay) {
    using B = tile::RowOperand<kWalkChunk, C::kInner>;
    Fragments f;
    ptx::FenceRegisters(s[kPart]);  // or all parts are packed at once
#pragma unroll
    for (int i = 0; i < kHalf / 2; ++i) {
      float* x = s[kPart] + 2 * i;
      f[i] = ptx::PackBf16(x[0], x[1]);
      x[0] *= decay;
      x[1] *= decay;
    }
    const uint64_t b = B::Descriptor(ptx::SharedAddress(shared_.q[stage()]));
    ptx::FenceRegisters(o);
    ptx::FenceRegisters(f);
    ptx::WgmmaFence();
    constexpr int kSteps = B::kSteps / 2;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      ptx::Wgmma<kWalkChunk>::template Register<0>(
          o, f[4 * i], f[4 * i + 1], f[4 * i + 2], f[4 * i + 3],
          ptx::Advance(b, B::Step(kPart * kSteps + i)), kPart > 0 || i > 0);
    }
    ptx::WgmmaCommit();
    ptx::WgmmaWait<0>();
    ptx::FenceRegisters(o);
  }

  // V^T of the chunk as A operand, times what decay leaves of each token in
  // the state after the chunk. Tokens that are not there are zeros.
  __device__ __forceinline__ void LoadValues(int valid, Values& values) const {
    using Tile = typename Shared::WidthTile;
    const uint32_t base =
        ptx::SharedAddress(shared_.v[stage()]) + w_ * Tile::kPanelBytes;
    int lane = lane_;
    asm volatile("" : "+r"(lane));  // see WalkScores
    const int token = lane % 8 + lane / 16 * 8;
    const int chunk = warp_row_ / 8 + lane / 8 % 2;
    const int shift = p_.reverse ? 0 : kWalkChunk - valid;
#pragma unroll
    for (int i = 0; i < kWalkChunk / 16; ++i) {
      uint32_t r[4];
      ptx::LoadMatrix4Transposed(
          r, base + tile::SwizzledChunk(16 * i + token, chunk));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 left =
            Factors(shared_.write_factor, 16 * i + 8 * half, shift);
#pragma unroll
        for (int k = 2 * half; k < 2 * half + 2; ++k) {
          values[4 * i + k] =
              ptx::PackBf16(__uint_as_float(r[k] << 16) * left.x,
                            __uint_as_float(r[k] & 0xFFFF0000u) * left.y);
        }
      }
    }
  }

  // O^T += V^T P^T
  __device__ __forceinline__ void MultiplyScores(Output& o) {
    using A = tile::ColumnOperand<kWalkChunk, 64>;
    using B = tile::RowOperand<kWalkChunk, kWalkChunk>;
    const uint64_t a = A::Descriptor(ptx::SharedAddress(shared_.v[stage()]) +
                                     w_ * Shared::WidthTile::kPanelBytes);
    const uint64_t b = B::Descriptor(ptx::SharedAddress(shared_.p[stage()]));
    ptx::FenceRegisters(o);
    ptx::WgmmaFence();
#pragma unroll
    for (int i = 0; i < B::kSteps; ++i) {
      ptx::Wgmma<kWalkChunk>::template Shared<1, 0>(
          o, ptx::Advance(a, A::Step(i)), ptx::Advance(b, B::Step(i)), 1);
    }
    ptx::WgmmaCommit();
  }

  // S^T += (w V)^T K
  __device__ __forceinline__ void UpdateState(Values& v, State& s) {
    using B = tile::ColumnOperand<kWalkChunk, C::kInner>;
    const uint64_t b =
        B::Descriptor(ptx::SharedAddress(shared_.k[key_ring_.stage]));
    ptx::FenceRegisters(s[0]);
    ptx::FenceRegisters(s[1]);
    ptx::FenceRegisters(v);
    ptx::WgmmaFence();
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < B::kSteps; ++i) {
        ptx::Wgmma<C::kInner / 2>::template Register<B::kTranspose>(
            s[part], v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3],
            ptx::Advance(b, B::Step(i) + part * (C::kInner / 128) *
                                             B::Tile::kPanelBytes),
            1);
      }
    }
    ptx::WgmmaCommit();
  }

  // Rows past the end of a sequence belong to another and may hold NaN. The
  // warpgroups, whose threads begin at 128, share the work.
  __device__ __forceinline__ void ZeroRows(int valid) const {
    Zero<typename Shared::InnerTile>(shared_.k[key_ring_.stage], valid);
    Zero<typename Shared::WidthTile>(shared_.v[stage()], valid);
    ptx::FenceProxyAsync();
    ptx::NamedBarrierSync(3, 256);
  }
  template <class Tile>
  __device__ __forceinline__ static void Zero(uint8_t* tile, int valid) {
    constexpr int kChunks = Tile::kPanels * 8;
    const int count = (kWalkChunk - valid) * kChunks;
#pragma unroll 1
    for (int i = threadIdx.x - 128; i < count; i += 256) {
      *reinterpret_cast<uint4*>(tile +
                                Tile::Chunk(valid + i / kChunks, i % kChunks)) =
          uint4{0, 0, 0, 0};
    }
  }

  // `token`: first of the chunk, in its sequence.
  __device__ __forceinline__ void Store(Output& o, int token, int valid) {
    using Tile = typename Shared::OutTile;
    float kept[kKept];
    if constexpr (C::kHalves == 2) {
      Exchange(o, kept);
    } else {
#pragma unroll
      for (int i = 0; i < kKept; ++i) kept[i] = o[i];
    }
    uint8_t* buffer = shared_.out[w_];
    if (first_) ptx::TmaWaitRead<0>();
    ptx::NamedBarrierSync(1 + w_, 128);
    const uint32_t base = ptx::SharedAddress(buffer);
    int lane = lane_;
    asm volatile("" : "+r"(lane));  // see WalkScores
    const int row = lane / 16 * 8 + lane % 8;
    const int chunk = warp_row_ / 8 + lane / 8 % 2;
#pragma unroll
    for (int j = 0; j < kKept / 4; j += 2) {
      ptx::StoreMatrix4Transposed(
          base + Tile::Chunk(8 * j + row, chunk),
          ptx::PackBf16(kept[4 * j], kept[4 * j + 1]),
          ptx::PackBf16(kept[4 * j + 2], kept[4 * j + 3]),
          ptx::PackBf16(kept[4 * j + 4], kept[4 * j + 5]),
          ptx::PackBf16(kept[4 * j + 6], kept[4 * j + 7]));
    }
    const int skipped = C::kHalves == 2 ? unit_.half * Shared::kOutRows : 0;
    const int column = unit_.slice * kWalkWidth + 64 * w_;
    const int first_row = unit_.start + token + skipped;
    if (valid == kWalkChunk) {
      ptx::FenceProxyAsync();
      ptx::NamedBarrierSync(1 + w_, 128);
      if (first_) {
        ptx::TmaStore3d(&p_.out, buffer, column, unit_.head, first_row);
        ptx::TmaCommit();
      }
      return;
    }
    ptx::NamedBarrierSync(1 + w_, 128);
#pragma unroll 1
    for (int i = threadIdx.x % 128; i < Shared::kOutRows * 8; i += 128) {
      const int r = i / 8, c = i % 8;
      if (skipped + r < valid && column + 8 * c < p_.width) {
        *reinterpret_cast<uint4*>(
            p_.out_data + (first_row + r) * p_.out_row_stride +
            unit_.head * p_.out_head_stride + column + 8 * c) =
            *reinterpret_cast<const uint4*>(buffer + Tile::Chunk(r, c));
      }
    }
  }

  // Each block of the pair keeps half of the tokens, sends what it has for the
  // others and adds what the other block has for its own.
  __device__ __forceinline__ void Exchange(const Output& o,
                                           float (&kept)[kKept]) {
    const uint32_t other = unit_.half ^ 1;
    ptx::MbarrierWait(&shared_.inbox_empty[stage()][w_], phase() ^ 1);
    uint64_t* full = &shared_.inbox_full[stage()][w_];
    if (first_) ptx::MbarrierArriveExpect(full, Shared::kInboxBytes);
    const uint8_t* inbox = shared_.inbox[stage()][w_] + threadIdx.x % 128 * 16;
    const uint32_t to = ptx::MapToRank(ptx::SharedAddress(inbox), other);
    const uint32_t to_full = ptx::MapToRank(ptx::SharedAddress(full), other);
#pragma unroll
    for (int i = 0; i < kKept; i += 4) {
      float send[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        kept[i + e] = unit_.half == 0 ? o[i + e] : o[kWalkChunk / 4 + i + e];
        send[e] = unit_.half == 0 ? o[kWalkChunk / 4 + i + e] : o[i + e];
      }
      ptx::StoreAsync4(to + i / 4 * 2048, to_full, send[0], send[1], send[2],
                       send[3]);
    }
    ptx::MbarrierWait(full, phase());
#pragma unroll
    for (int i = 0; i < kKept; i += 4) {
      const float4 x = *reinterpret_cast<const float4*>(inbox + i / 4 * 2048);
      kept[i] += x.x;
      kept[i + 1] += x.y;
      kept[i + 2] += x.z;
      kept[i + 3] += x.w;
    }
    __syncwarp();
    if (leader_) {
      ptx::MbarrierArriveCluster(ptx::MapToRank(
          ptx::SharedAddress(&shared_.inbox_empty[stage()][w_]), other));
    }
  }

  const WalkParams& p_;
  const WalkUnit& unit_;
  Shared& shared_;
  const int w_, lane_, warp_row_;
  const bool leader_, first_;
  int number_ = 0;  // of the chunk, in the order of the walk
  tile::RingPosition<Shared::kKeyStages> key_ring_;
};

}  // namespace intarsia::sm90
