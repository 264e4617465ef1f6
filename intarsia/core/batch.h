// A packed batch: segments of several sequences end to end, without padding.
// Training packs documents so, prefill packs chunks so, decode is length 1.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "intarsia/core/tensor.h"

namespace intarsia {

// T tokens in N segments. Causality goes by positions within a segment, never
// by row index: a selected batch (recursion depth, experts) has gaps.
struct Batch {
  std::vector<int32_t> tokens;      // [T] ids; empty for selected batches
  std::vector<int32_t> positions;   // [T] true positions in the sequence
  std::vector<int32_t> cu_seqlens;  // [N+1] first row of each segment, then T
  // State slot of each segment's sequence, [N]; the identity when stateless.
  std::vector<int32_t> slots;
  // Tokens that each segment's sequence will have when all that is known of it
  // has run, so that a prompt in pieces is turned as a whole one is, [N];
  // empty: each segment ends with its sequence.
  std::vector<int32_t> lengths;

  int64_t size() const { return static_cast<int64_t>(positions.size()); }
  int64_t segments() const {
    return static_cast<int64_t>(cu_seqlens.size()) - 1;
  }
  int64_t begin(int64_t n) const { return cu_seqlens[n]; }
  int64_t length(int64_t n) const { return cu_seqlens[n + 1] - cu_seqlens[n]; }
  int64_t longest() const;
  // A power of two that no position reaches, 512 or more: what a GPU's kernels
  // size their grids by, so that a recorded step serves many lengths.
  int64_t kv_capacity() const;
  // By `lengths`, or from the position of the segment's last row.
  int64_t sequence_length(int64_t n) const;

  // Appends a segment whose first token stands at `first_position`.
  void Add(std::span<const int32_t> segment, int32_t first_position = 0,
           int32_t slot = -1);
  // The rows `rows` (ascending), with their positions, segments and slots.
  // Segments that lose all their rows stay, with length 0.
  Batch Select(std::span<const int32_t> rows) const;
  // Segment of each row, [T].
  std::vector<int32_t> SegmentIds() const;

  // The same arrays as i32 tensors on a device, for kernels. Made by Upload and
  // undefined until then; a graph replay rewrites them in place.
  struct OnDevice {
    Tensor tokens, positions, cu_seqlens, slots, segment_ids, lengths;
    // Entries of each segment's sequence with this batch, [N]: one more than
    // the position of its last row; and where they begin when they lie end to
    // end, [N+1].
    Tensor kv_lengths, cu_kv_lengths;
    Tensor all;  // what the others are parts of
  } device;
  void Upload(Device target, DeviceStream stream = nullptr);

  // Whole sequences from position 0.
  static Batch Of(const std::vector<std::vector<int32_t>>& sequences);
  // N sequences of the given lengths without token ids, for mixers alone.
  static Batch OfLengths(std::span<const int32_t> lengths);
};

}  // namespace intarsia
