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
  // [pages, page, entry...]: f32, bf16, f16, i32, or i8 with `scales`: bf16
  // [pages, page, entry... with its channels divided by the channels a scale];
  // channel c is code · scale[c / (channels a scale)].
  Tensor pool, scales;
  int64_t page = 0;
  // Page numbers by slot: host rows and, on a GPU, i32 [slots, most pages]. A
  // page that was given back, because no token can read it any more, is -1 in a
  // host row. On a device it keeps its last number: readers mask, they never
  // read what is out of sight.
  std::vector<std::span<const int32_t>> table;  // [slots]
  Tensor device_table;
  // Entries of the segment's sequence that stood before this batch, [N]. For
  // kToken growth those of the tokens before the segment's first, and entry e
  // stands at position e · stride; for kSelected growth `positions` (i32
  // [pages, page]) tells.
  std::vector<int32_t> entries_before;
  Tensor positions;
};

struct StateView {
  // By index in the sublayer's state(); only the one that fits its growth is
  // set. Per-sequence state: f32 or i32 [slots, entry...]; the row of segment n
  // is batch.slots[n], updated in place.
  struct Entry {
    Tensor sequence;
    TokenPages tokens;
  };
  std::vector<Entry> entries;

  Tensor& sequence(size_t i) { return entries.at(i).sequence; }
  TokenPages& tokens(size_t i) { return entries.at(i).tokens; }
};

// Stores rows [T, entry...] (fp32, or i32 where the pool is) of the batch as
// entries entries_before[n]... of each segment n, in the pool's format. The
// CPU's way; devices have their own.
void AppendRows(const Batch& batch, const Tensor& rows, TokenPages* pages);

// n channels as i8 codes with a bf16 scale for each `group` of them: the least
// that makes all codes fit. A group that is not finite decodes to NaN.
void EncodeInt8(const float* from, int64_t n, int64_t group, int8_t* codes,
                bf16* scales);

}  // namespace intarsia
