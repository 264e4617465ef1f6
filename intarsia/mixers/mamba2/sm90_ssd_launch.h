// Host side of the SSD kernels: how work is cut, and what lies in a workspace.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/mixers/mamba2/sm90_ssd_chunk.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_forward.h"

namespace intarsia::sm90 {

// Heads of a group that a block takes together.
inline int SsdHeadsPerBlock(int heads, int groups) {
  return heads / groups % 2 == 0 ? 2 : 1;
}

// Tokens of a segment; longer than any sequence where that keeps the
// multiprocessors busy, since segments need a walk of their own.
inline int SsdSegment(const Sm90SsdForwardArgs& a, int processors) {
  const int longest = std::min(a.max_seqlen, a.tokens);
  const int64_t blocks = a.heads / SsdHeadsPerBlock(a.heads, a.groups);
  const int64_t share = std::max<int64_t>(
      512, cuda::CeilDiv(int64_t{a.tokens} * blocks, processors));
  const int64_t segments =
      longest > share * 3 / 2 ? (longest + share / 4) / share : 1;
  const int64_t unit =
      segments > 1 ? cuda::CeilDiv(longest, segments) : int64_t{a.tokens} + 1;
  return static_cast<int>(cuda::RoundUp(unit, kSsdChunk));
}

inline bool SsdShapeIsValid(const Sm90SsdForwardArgs& a) {
  return a.sequences > 0 && a.tokens >= 0 && a.max_seqlen >= 0 &&
         a.groups > 0 && a.heads > 0 && a.heads % a.groups == 0 &&
         a.tokens < (1 << 30) && a.sequences < (1 << 24);
}

// A row of a bf16 operand: 16-byte aligned.
inline bool SsdRowsAreValid(const void* data, int64_t stride) {
  return data != nullptr && cuda::IsAligned16(data) && stride % 8 == 0;
}

inline SsdPacking MakeSsdPacking(const Sm90SsdForwardArgs& a) {
  return {a.cu_seqlens, a.sequences, a.tokens};
}

inline SsdProblem MakeSsdProblem(const Sm90SsdForwardArgs& a) {
  return {MakeSsdPacking(a),
          {a.dt, a.a, a.dt_bias, a.dt_stride, a.softplus, a.dt_min, a.dt_max},
          a.heads,
          a.groups};
}

// Maps of x-like (a head a coordinate) and B-like operands, boxes of a chunk.
inline cudaError_t EncodeHeads(CUtensorMap* map, const void* data,
                               const Sm90SsdForwardArgs& a, int64_t stride) {
  return tile::EncodePanelMap(map, data, a.tokens, a.heads, kSsdHeadDim, stride,
                              kSsdHeadDim, kSsdChunk);
}
inline cudaError_t EncodeGroups(CUtensorMap* map, const void* data,
                                const Sm90SsdForwardArgs& a, int64_t stride) {
  return tile::EncodePanelMap(map, data, a.tokens, a.groups, a.state_dim,
                              stride, a.state_dim, kSsdChunk);
}

}  // namespace intarsia::sm90
