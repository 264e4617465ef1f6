// Between the core's plan (attention_core.cc, attention_vjp.cc) and its CPU
// kernels (attention_*cpu.cc).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <span>
#include <vector>

#include "intarsia/core/batch.h"
#include "intarsia/core/dtype.h"
#include "intarsia/mixers/attention/attention.h"

namespace intarsia::attention_internal {

// Keys of a tile. Tiles start at multiples of this among a segment's entries,
// wherever a query stands: part of what makes results independent of batching.
inline constexpr int64_t kTile = 64;
// Keys of a span, a multiple of kTile. The softmax of each span is summed on
// its own and the spans are added up in ascending order, whoever computes them:
// so threads may share the keys of a long sequence without changing a bit.
inline constexpr int64_t kSpan = 256;
// Query rows (tokens × heads of a group) that share a pass over the keys.
inline constexpr int64_t kRows = 64;

// Channels are padded to whole vectors of any target in scratch memory.
inline int64_t Padded(int64_t dim) { return (dim + 15) / 16 * 16; }

// Floats from one row of sums to the next: the sums of `dim` channels, padded,
// then the row's maximum and total.
inline int64_t SumsStride(int64_t dim) { return Padded(dim) + 16; }

// The entries that one token sees: [a0, a1) and [b0, b1), a1 ≤ b0, either may
// be empty.
struct Visible {
  int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
};

// [first, last) entries that any token sees, or first ≥ last.
inline void Extent(const Visible* visible, int64_t tokens, int64_t* first,
                   int64_t* last) {
  *first = std::numeric_limits<int32_t>::max();
  *last = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    const Visible& see = visible[t];
    if (see.a0 < see.a1) {
      *first = std::min<int64_t>(*first, see.a0);
      *last = std::max<int64_t>(*last, see.a1);
    }
    if (see.b0 < see.b1) {
      *first = std::min<int64_t>(*first, see.b0);
      *last = std::max<int64_t>(*last, see.b1);
    }
  }
}

// Of every token of `batch`, by the mask and the positions of keys: `positions`
// ([entries], ascending) or, when null, position e for entry e.
void FindVisible(const AttentionMask& mask, const int32_t* query_positions,
                 int64_t tokens, const int32_t* key_positions, int64_t begin,
                 int64_t end, Visible* out);

// The `keep`-th largest of each token's visible biases, or −infinity where it
// sees fewer: of a causal mask alone. bias(e): of an entry; ends ascend.
template <typename Bias>
void FindFloors(const Visible* visible, int64_t tokens, int64_t keep,
                const Bias& bias, float* floors) {
  std::priority_queue<float, std::vector<float>, std::greater<float>> largest;
  int32_t entry = tokens > 0 ? visible[0].b0 : 0;
  for (int64_t t = 0; t < tokens; ++t) {
    for (; entry < visible[t].b1; ++entry) {
      largest.push(bias(entry));
      if (static_cast<int64_t>(largest.size()) > keep) largest.pop();
    }
    floors[t] = static_cast<int64_t>(largest.size()) < keep
                    ? -std::numeric_limits<float>::infinity()
                    : largest.top();
  }
}

// Keys or values of one segment and head: rows in one array or in pages.
struct EntryRows {
  const std::byte* data = nullptr;  // entry 0, or entry 0 of page 0
  DType dtype = DType::kF32;
  int64_t stride = 0;              // elements from one entry to the next
  const int32_t* pages = nullptr;  // null: one array
  int64_t page = 0;                // entries a page
  // Of i8 codes: entry 0's scales, from one entry to the next, channels a
  // scale.
  const bf16* scales = nullptr;
  int64_t scale_stride = 0, scale_group = 0;

  size_t row_bytes() const { return stride * SizeOf(dtype); }
  // Where the entry lies, in entries; -1: in a page that was given back.
  int64_t At(int64_t e) const {
    if (pages == nullptr) return e;
    const int64_t p = pages[e / page];
    return p < 0 ? -1 : p * page + e % page;
  }
  // Null for an entry of a page that was given back.
  const std::byte* Row(int64_t e) const {
    const int64_t at = At(e);
    if (at < 0) return nullptr;
    return data + at * static_cast<int64_t>(row_bytes());
  }
  // Whether entries [begin, end) lie in one array.
  bool OneArray(int64_t begin, int64_t end) const {
    return pages == nullptr ||
           (pages[begin / page] >= 0 && begin / page == (end - 1) / page);
  }
};

// A block of query rows: `tokens` × `group` heads that read one key head.
struct ForwardArgs {
  EntryRows k, v;
  const Visible* visible = nullptr;  // [tokens]
  const float* q = nullptr;          // the heads of a token are contiguous
  int64_t q_stride = 0;              // from one token to the next
  float* out = nullptr;
  int64_t out_stride = 0;
  float* lse = nullptr;
  int64_t lse_stride = 0;
  const float* sinks = nullptr;   // [group] or null
  const float* slopes = nullptr;  // [group] or null
  // Of tokens, and of entries (null: e of entry e); read with slopes.
  const int32_t* query_positions = nullptr;
  const int32_t* positions = nullptr;
  EntryRows bias;                 // one number an entry; without data: none
  const float* floors = nullptr;  // [tokens]: the least bias that a token sees
  int64_t tokens = 0, group = 0, key_dim = 0, value_dim = 0;
  float scale = 1.0f, softcap = 0.0f;
  int64_t rows() const { return tokens * group; }
};
// Few rows: a pass over the keys is bound by reading them.
inline bool Few(const ForwardArgs& args) { return args.rows() <= 8; }

// Floats of scratch for a call with so many blocks of one shape.
int64_t ForwardScratch(const ForwardArgs& args, int64_t blocks);
void ForwardBlock(const ForwardArgs& args, float* scratch);

// The same in pieces. First the sums of consecutive spans (of entries from
// span · kSpan on) of blocks that differ by the head alone, consecutive ones
// from the first: those of blocks[b] from sums[b] on, rows() ×
// SumsStride(value_dim) floats a span. Then a block's output from the sums of
// all its spans, which are overwritten.
void ForwardSpans(std::span<const ForwardArgs> blocks, int64_t span,
                  int64_t spans, float* const* sums, float* scratch);
void FinishSpans(const ForwardArgs& args, int64_t spans, float* sums);

// All of one segment and key head. Strides as above.
struct BackwardArgs {
  const Visible* visible = nullptr;
  const float *q = nullptr, *out = nullptr, *d_out = nullptr;
  const float *lse = nullptr, *d_lse = nullptr;  // d_lse may be null
  const float *k = nullptr, *v = nullptr;
  float *d_q = nullptr, *d_k = nullptr, *d_v = nullptr;  // written whole
  int64_t q_stride = 0, out_stride = 0, lse_stride = 0;
  int64_t k_stride = 0, v_stride = 0;
  int64_t tokens = 0, keys = 0, group = 0, key_dim = 0, value_dim = 0;
  float scale = 1.0f, softcap = 0.0f;
  // As ForwardArgs has them; bias one a key, bias_stride apart.
  const float *slopes = nullptr, *bias = nullptr, *floors = nullptr;
  const int32_t *query_positions = nullptr, *positions = nullptr;
  float* d_bias = nullptr;
  int64_t bias_stride = 0;
};
int64_t BackwardScratch(const BackwardArgs& args);
void BackwardSegment(const BackwardArgs& args, float* scratch);

// out[r] ← wa out_a[r] + wb out_b[r] and their log-sum-exps, for rows [begin,
// end) of `dim` channels.
void MergeRows(const float* out_a, const float* lse_a, const float* out_b,
               const float* lse_b, float* out, float* lse, int64_t begin,
               int64_t end, int64_t dim);

}  // namespace intarsia::attention_internal
