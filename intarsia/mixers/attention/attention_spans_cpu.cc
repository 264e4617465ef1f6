// Blocks of query rows over some spans of their keys, for the CPU: what the
// threads of a decode step share.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/attention/attention_spans_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/attention/attention_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

void ForwardSpansImpl(std::span<const ForwardArgs> blocks, int64_t span,
                      int64_t spans, float* const* sums, float* scratch) {
  const ForwardBuffers buffers(blocks, scratch);
  const ForwardArgs& args = blocks[0];
  const auto count = static_cast<int64_t>(blocks.size());
  const int64_t rows = args.rows();
  const auto sums_of = [&](int64_t b, int64_t i) {
    const int64_t size = rows * SumsStride(args.value_dim);
    return Sums(sums[b] + i * size, args.value_dim);
  };
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t i = 0; i < spans; ++i) sums_of(b, i).Clear(rows);
  }
  int64_t first, last;
  Extent(args.visible, args.tokens, &first, &last);
  first = std::max(first, span * kSpan) / kTile * kTile;
  last = std::min(last, (span + spans) * kSpan);
  TileOf(blocks, first, last, 0, kTile).Rest();
  for (int64_t tile = first; tile < last; tile += kTile) {
    for (int64_t b = 0; b < count; ++b) {
      // A share of the next tile of all blocks, in the order of memory.
      Fetcher next = TileOf(blocks, tile + kTile, last, kTile * b / count,
                            kTile * (b + 1) / count);
      AddTile(blocks[b], buffers, buffers.q + b * rows * args.key_dim, tile,
              sums_of(b, tile / kSpan - span), next);
      next.Rest();
    }
  }
}

void FinishSpansImpl(const ForwardArgs& args, int64_t spans, float* sums) {
  const Sums total(sums, args.value_dim);
  const int64_t size = args.rows() * total.stride();
  for (int64_t i = 1; i < spans; ++i) {
    const Sums part(sums + i * size, args.value_dim);
    for (int64_t r = 0; r < args.rows(); ++r) AddSums(part, total, r);
  }
  FinishRows(args, total);
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::attention_internal {

HWY_EXPORT(ForwardSpansImpl);
HWY_EXPORT(FinishSpansImpl);

void ForwardSpans(std::span<const ForwardArgs> blocks, int64_t span,
                  int64_t spans, float* const* sums, float* scratch) {
  HWY_DYNAMIC_DISPATCH(ForwardSpansImpl)(blocks, span, spans, sums, scratch);
}

void FinishSpans(const ForwardArgs& args, int64_t spans, float* sums) {
  HWY_DYNAMIC_DISPATCH(FinishSpansImpl)(args, spans, sums);
}

}  // namespace intarsia::attention_internal
#endif  // HWY_ONCE
