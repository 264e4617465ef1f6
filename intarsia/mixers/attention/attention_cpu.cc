// Blocks of query rows over all their keys, for the CPU.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/attention/attention_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/attention/attention_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

void ForwardBlockImpl(const ForwardArgs& args, float* scratch) {
  const ForwardBuffers buffers({&args, 1}, scratch);
  const Sums total(buffers.total, args.value_dim);
  const Sums part(buffers.part, args.value_dim);
  int64_t first, last;
  Extent(args.visible, args.tokens, &first, &last);
  total.Clear(args.rows());
  NoFetcher none;
  for (int64_t span = first / kSpan * kSpan; span < last; span += kSpan) {
    part.Clear(args.rows());
    const int64_t end = std::min(last, span + kSpan);
    for (int64_t tile = std::max(first, span) / kTile * kTile; tile < end;
         tile += kTile) {
      AddTile(args, buffers, buffers.q, tile, part, none);
    }
    for (int64_t r = 0; r < args.rows(); ++r) AddSums(part, total, r);
  }
  FinishRows(args, total);
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::attention_internal {

HWY_EXPORT(ForwardBlockImpl);

// The sizes of ForwardBuffers.
int64_t ForwardScratch(const ForwardArgs& args, int64_t blocks) {
  const int64_t kp = Padded(args.key_dim), vp = Padded(args.value_dim);
  return args.rows() *
             (blocks * args.key_dim + kTile + 2 * SumsStride(args.value_dim)) +
         kTile * (kp + vp) + 5 * std::max(kp, vp);
}

void ForwardBlock(const ForwardArgs& args, float* scratch) {
  HWY_DYNAMIC_DISPATCH(ForwardBlockImpl)(args, scratch);
}

void MergeRows(const float* out_a, const float* lse_a, const float* out_b,
               const float* lse_b, float* out, float* lse, int64_t begin,
               int64_t end, int64_t dim) {
  for (int64_t r = begin; r < end; ++r) {
    const double most = std::max(lse_a[r], lse_b[r]);
    if (most == -std::numeric_limits<double>::infinity()) {
      lse[r] = lse_a[r];  // neither part saw a key
      std::fill(out + r * dim, out + (r + 1) * dim, 0.0f);
      continue;
    }
    const double a = std::exp(lse_a[r] - most), b = std::exp(lse_b[r] - most);
    lse[r] = static_cast<float>(most + std::log(a + b));
    const float wa = static_cast<float>(a / (a + b));
    const float wb = static_cast<float>(b / (a + b));
    for (int64_t i = r * dim; i < (r + 1) * dim; ++i) {
      out[i] = wa * out_a[i] + wb * out_b[i];
    }
  }
}

}  // namespace intarsia::attention_internal
#endif  // HWY_ONCE
