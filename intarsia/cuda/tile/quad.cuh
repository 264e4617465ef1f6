// Exchanges within a quad: four neighbouring lanes, which share rows of
// accumulators (ptx/wgmma.cuh).
#pragma once

#include <cstdint>

namespace intarsia::tile {

// Four words of each lane of a quad, transposed: lane i gets word i of all. So
// words 8 columns apart, two bf16 each, become 16 contiguous bytes.
__device__ __forceinline__ uint4 TransposeQuad(uint32_t w0, uint32_t w1,
                                               uint32_t w2, uint32_t w3,
                                               int lane) {
  const bool odd = lane & 1, high = lane & 2;
  const uint32_t a = __shfl_xor_sync(~0u, odd ? w0 : w1, 1);
  const uint32_t b = __shfl_xor_sync(~0u, odd ? w2 : w3, 1);
  w0 = odd ? a : w0;
  w1 = odd ? w1 : a;
  w2 = odd ? b : w2;
  w3 = odd ? w3 : b;
  const uint32_t c = __shfl_xor_sync(~0u, high ? w0 : w2, 2);
  const uint32_t d = __shfl_xor_sync(~0u, high ? w1 : w3, 2);
  return high ? make_uint4(c, d, w2, w3) : make_uint4(w0, w1, c, d);
}

}  // namespace intarsia::tile
