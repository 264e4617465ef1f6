// Per-row scratch of packed sequences, with room for whole blocks: sequence b
// begins at a row that is a multiple of kBlock, computable from cu_seqlens[b]
// and b alone, and the blocks of two sequences never meet.
#pragma once

#include <cstdint>

namespace intarsia::sm90 {

template <int kBlock>
struct Padding {
  // First scratch row of the sequence that starts at packed row `start`.
  __host__ __device__ static int Row(int start, int sequence) {
    return (start + sequence * kBlock) / kBlock * kBlock;
  }
  // Rows of scratch in all.
  __host__ __device__ static int Rows(int total, int sequences) {
    return (total + sequences * kBlock) / kBlock * kBlock;
  }
  // The sequence whose blocks contain scratch row `row`, or the one before
  // it where `row` lies in a gap.
  __device__ static int Sequence(const int32_t* cu, int sequences, int row) {
    int low = 0, high = sequences - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (Row(cu[middle], middle) <= row) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
};

}  // namespace intarsia::sm90
