// A PanelTile as an operand of wgmma: which descriptor, and how far to the
// next 16 of K.
#pragma once

#include <cstdint>

#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/swizzle.cuh"

namespace intarsia::tile {

// Rows are M or N, columns are K (K-major): A, or the B of A B^T.
template <int kRows, int kColumns>
struct RowOperand {
  using Tile = PanelTile<kRows, kColumns>;
  static constexpr int kTranspose = 0;
  static constexpr int kSteps = kColumns / 16;
  __device__ __forceinline__ static uint64_t Descriptor(uint32_t address) {
    return ptx::WgmmaDescriptor(address, 16, kSwizzleAtomBytes);
  }
  // Bytes from the tile's start to step k of K: 32 within a panel's row.
  static constexpr __device__ uint32_t Step(int k) {
    return (k / 4) * Tile::kPanelBytes + (k % 4) * 32;
  }
};

// Rows are K, columns are M or N (MN-major): the B of A B.
template <int kRows, int kColumns>
struct ColumnOperand {
  using Tile = PanelTile<kRows, kColumns>;
  static constexpr int kTranspose = 1;
  static constexpr int kSteps = kRows / 16;
  __device__ __forceinline__ static uint64_t Descriptor(uint32_t address) {
    return ptx::WgmmaDescriptor(address, Tile::kPanelBytes, kSwizzleAtomBytes);
  }
  static constexpr __device__ uint32_t Step(int k) {
    return k * 16 * kPanelRowBytes;
  }
};

}  // namespace intarsia::tile
