// What one sublayer sees of its sequences' state while a batch runs. Pools
// (pool.h) make views; mixers read and write through them.
#pragma once

#include <span>
#include <vector>

#include "intarsia/cache/state_spec.h"
#include "intarsia/core/batch.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

// Per-token entries of all sequences, in pages. Entry e of the sequence in slot
// s lies at pool[table[s][e / page], e % page].
struct TokenPages {
  Tensor pool;  // [pages, page, entry...], fp32, bf16 or f16
  int64_t page = 0;
  // Page numbers by slot: host rows and, on a GPU, i32 [slots, max_pages].
  std::vector<std::span<const int32_t>> table;  // [slots]
  Tensor device_table;
  // Entries of the segment's sequence that stood before this batch, [N]. For
  // kToken growth the position of the segment's first token, and entry e stands
  // at position e; for kSelected growth `positions` (i32 [pages, page]) tells.
  std::vector<int32_t> entries_before;
  Tensor device_entries_before;
  Tensor positions;
};

struct StateView {
  // By index in the sublayer's state(); only the one that fits its growth is
  // set. Per-sequence state: fp32 [slots, entry...]; the row of segment n is
  // batch.slots[n], updated in place.
  struct Entry {
    Tensor sequence;
    TokenPages tokens;
  };
  std::vector<Entry> entries;

  Tensor& sequence(size_t i) { return entries.at(i).sequence; }
  TokenPages& tokens(size_t i) { return entries.at(i).tokens; }
};

// Stores rows [T, entry...] (fp32) of the batch as entries entries_before[n]...
// of each segment n, in the pool's dtype. The CPU's way; devices have their
// own.
void AppendRows(const Batch& batch, const Tensor& rows, TokenPages* pages);

}  // namespace intarsia
