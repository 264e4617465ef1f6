// The 128-byte swizzle, as the copy engine writes it and wgmma reads it: a
// panel has rows of 128 bytes (64 elements of bf16), and the eight 16-byte
// chunks of row r are permuted by r % 8, so that a column of chunks touches
// all banks. Panels start at multiples of 1024 bytes.
#pragma once

#include <cstdint>

namespace intarsia::tile {

inline constexpr int kPanelColumns = 64;  // bf16 elements a row of a panel
inline constexpr int kPanelRowBytes = 128;
inline constexpr int kSwizzleAtomBytes = 1024;

// Byte offset of 16-byte chunk `chunk` (0 .. 7) of row `row` in a panel.
__host__ __device__ constexpr uint32_t SwizzledChunk(uint32_t row,
                                                     uint32_t chunk) {
  return row * kPanelRowBytes + ((chunk ^ (row & 7)) << 4);
}

// A tile of kRows x kColumns bf16 as panels of 64 columns, side by side: the
// layout of a TMA box of {64, kRows} a panel.
template <int kRows, int kColumns>
struct PanelTile {
  static_assert(kColumns % kPanelColumns == 0 && kRows % 8 == 0);
  static constexpr int kPanels = kColumns / kPanelColumns;
  static constexpr uint32_t kPanelBytes = kRows * kPanelRowBytes;
  static constexpr uint32_t kBytes = kPanels * kPanelBytes;

  // Byte offset of the 16-byte chunk that holds columns 8 chunk .. + 7.
  __host__ __device__ static constexpr uint32_t Chunk(uint32_t row,
                                                      uint32_t chunk) {
    return (chunk / 8) * kPanelBytes + SwizzledChunk(row, chunk % 8);
  }
};

}  // namespace intarsia::tile
