// Parts of the kernel behind sm90_retention_walk.h that all its warps share:
// what a block works on, its shared memory, the producer, the scores.
//
// A block walks along one segment of one sequence and head, 64 tokens a chunk,
// and holds kInner x 128 of the state in the registers of two warpgroups, with
// the width as rows: 64 rows of kInner columns each. Then the state is both
// the accumulator of its own update and, packed to bf16, the A operand of the
// product that reads it:
//   O^T = S^T Q^T,  O^T += V^T P^T,  S^T = g^64 S^T + (w V)^T K
// They take turns to make P = Q K^T with decay and mask, one chunk ahead. With
// an inner dimension of more than 256, two blocks of a cluster hold half of it
// each and add their O^T. One more thread loads.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "intarsia/cuda/ptx/exp2.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/matrix.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/rows.cuh"

namespace intarsia::sm90 {

inline constexpr int kWalkChunk = 64;
inline constexpr int kWalkWidth = 128;  // of the output, a block
inline constexpr int kWalkStages = 2;   // buffers of q, v, P and the inbox

struct WalkParams {
  CUtensorMap q, k, v, out;
  __nv_bfloat16* out_data;
  int64_t out_row_stride, out_head_stride;
  const int32_t* cu_seqlens;
  const float* log_decay;
  const float* initial_state;
  float* final_state;
  int64_t state_inner_stride, state_width_stride;
  // [segments - 1][sequences][heads] states, each of one segment that began
  // with zeros; in the order of the walk.
  float* partial;
  int sequences, heads, segments, slices, halves, inner, width;
  float read_scale, write_scale;
  bool reverse;
};

// What a block works on. Segments are numbered in the order of the walk.
struct WalkUnit {
  int head, sequence, slice, half, segment;
  int start, length;       // of the sequence, in tokens
  int span, chunks;        // chunks of a segment; of the sequence
  int first_chunk, count;  // of this segment, in the order of the walk
  float log2_decay;

  __device__ __forceinline__ void Find(const WalkParams& p, int segments) {
    int rest = blockIdx.x;
    half = rest % p.halves;
    rest /= p.halves;
    slice = rest % p.slices;
    rest /= p.slices;
    segment = rest % segments;
    rest /= segments;
    head = rest % p.heads;
    sequence = rest / p.heads;
    start = p.cu_seqlens[sequence];
    length = p.cu_seqlens[sequence + 1] - start;
    chunks = (length + kWalkChunk - 1) / kWalkChunk;
    span = (chunks + p.segments - 1) / p.segments;
    const int begin = Begin(p, segment);
    count = min(begin + span, chunks) - begin;
    first_chunk = p.reverse ? begin + count - 1 : begin;
    // Below 2^-250 a step leaves nothing in fp32; -inf would make 0 x inf.
    log2_decay = fmaxf(p.log_decay[head] * 1.44269504089f, -250.0f);
  }
  __device__ __forceinline__ int Begin(const WalkParams& p, int s) const {
    return min((p.reverse ? p.segments - 1 - s : s) * span, chunks);
  }
  // Tokens of a segment of the sequence.
  __device__ __forceinline__ int Tokens(const WalkParams& p, int s) const {
    const int begin = Begin(p, s);
    const int end = min(begin + span, chunks);
    return min(end * kWalkChunk, length) - min(begin * kWalkChunk, length);
  }
  __device__ __forceinline__ int Chunk(const WalkParams& p, int i) const {
    return p.reverse ? first_chunk - i : first_chunk + i;
  }
};

template <class C>
struct WalkShared {
  using InnerTile = tile::PanelTile<kWalkChunk, C::kInner>;  // of q and k
  using WidthTile = tile::PanelTile<kWalkChunk, kWalkWidth>;
  using ScoreTile = tile::PanelTile<kWalkChunk, kWalkChunk>;
  // k is let go last; two blocks that share need the room for the inbox.
  static constexpr int kKeyStages = C::kHalves == 2 ? 2 : 3;
  static constexpr int kOutRows = kWalkChunk / C::kHalves;
  using OutTile = tile::PanelTile<kOutRows, 64>;
  static constexpr int kInboxBytes = 64 * kOutRows * 4;

  alignas(1024) uint8_t q[C::kStateOnly ? 1 : kWalkStages][InnerTile::kBytes];
  alignas(1024) uint8_t k[kKeyStages][InnerTile::kBytes];
  alignas(1024) uint8_t v[kWalkStages][WidthTile::kBytes];
  alignas(1024) uint8_t p[kWalkStages][ScoreTile::kBytes];
  alignas(1024) uint8_t out[2][OutTile::kBytes];  // of a warpgroup
  // What the other block of the cluster has for our rows.
  alignas(
      128) uint8_t inbox[kWalkStages][2][C::kHalves == 2 ? kInboxBytes : 16];
  uint64_t q_full[kWalkStages], q_empty[kWalkStages];
  uint64_t k_full[kKeyStages], k_empty[kKeyStages];
  uint64_t v_full[kWalkStages], v_empty[kWalkStages];
  uint64_t p_full[kWalkStages], p_empty[kWalkStages];
  uint64_t inbox_full[kWalkStages][2], inbox_empty[kWalkStages][2];
  // Of a whole chunk: what decay leaves of the state until each token reads it,
  // and of each token's contribution when the chunk is over; with the scales.
  alignas(16) float read_factor[kWalkChunk], write_factor[kWalkChunk];
  WalkUnit unit;  // here, to spare registers

  // By one thread. q and k are let go by 8 warps of the state and by the 4 that
  // made scores of them.
  __device__ __forceinline__ void InitBarriers() {
    for (int s = 0; s < kWalkStages; ++s) {
      ptx::MbarrierInit(&q_full[s], 1);
      ptx::MbarrierInit(&v_full[s], 1);
      ptx::MbarrierInit(&q_empty[s], 12);
      ptx::MbarrierInit(&v_empty[s], 8);
    }
    for (int s = 0; s < kKeyStages; ++s) {
      ptx::MbarrierInit(&k_full[s], 1);
      ptx::MbarrierInit(&k_empty[s], C::kStateOnly ? 8 : 12);
    }
    for (int s = 0; s < kWalkStages; ++s) {
      ptx::MbarrierInit(&p_full[s], 4);
      ptx::MbarrierInit(&p_empty[s], 8);
      for (int w = 0; w < 2; ++w) {
        ptx::MbarrierInit(&inbox_full[s][w], 1);
        ptx::MbarrierInit(&inbox_empty[s][w], 4);
      }
    }
    ptx::FenceMbarrierInit();
  }
};

// By one thread.
template <class C>
class WalkLoader {
 public:
  using Shared = WalkShared<C>;

  __device__ __forceinline__ WalkLoader(const WalkParams& p,
                                        const WalkUnit& unit, Shared& shared)
      : p_(p), unit_(unit), shared_(shared) {}

  __device__ __forceinline__ void Run() {
    tile::RingPosition<kWalkStages> ring;
    tile::RingPosition<Shared::kKeyStages> keys;
    const int inner = unit_.half * C::kInner;
    for (int i = 0; i < unit_.count; ++i) {
      const int row = unit_.start + unit_.Chunk(p_, i) * kWalkChunk;
      const uint32_t s = ring.stage;
      Load<typename Shared::InnerTile>(
          &p_.k, shared_.k[keys.stage], &shared_.k_full[keys.stage],
          &shared_.k_empty[keys.stage], keys.phase, inner, row);
      if constexpr (!C::kStateOnly) {
        Load<typename Shared::InnerTile>(
            &p_.q, shared_.q[s], &shared_.q_full[s], &shared_.q_empty[s],
            ring.phase, inner, row);
      }
      Load<typename Shared::WidthTile>(&p_.v, shared_.v[s], &shared_.v_full[s],
                                       &shared_.v_empty[s], ring.phase,
                                       unit_.slice * kWalkWidth, row);
      ring.Next();
      keys.Next();
    }
  }

 private:
  template <class Tile>
  __device__ __forceinline__ void Load(const CUtensorMap* map, uint8_t* to,
                                       uint64_t* full, uint64_t* empty,
                                       uint32_t phase, int column,
                                       int row) const {
    ptx::MbarrierWait(empty, phase ^ 1);
    ptx::MbarrierArriveExpect(full, Tile::kBytes);
#pragma unroll
    for (int c = 0; c < Tile::kPanels; ++c) {
      ptx::TmaLoad3d(to + c * Tile::kPanelBytes, map, full,
                     column + c * tile::kPanelColumns, unit_.head, row);
    }
  }

  const WalkParams& p_;
  const WalkUnit& unit_;
  Shared& shared_;
};

}  // namespace intarsia::sm90
