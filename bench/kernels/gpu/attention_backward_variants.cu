#include "bench/kernels/gpu/attention_backward_variants.h"

#include "intarsia/mixers/attention/sm90_attention_backward_launch.cuh"

namespace intarsia::bench {
namespace {

template <int kD, int kQ, int kS, int kCopy, int kSpreads>
struct TunedBackward {
  static constexpr int kHeadDim = kD;
  static constexpr int kBlockQueries = kQ;
  static constexpr int kStages = kS;
  static constexpr bool kCopyDq = kCopy;
  static constexpr int kSpread = kSpreads;
};

template <class C>
BackwardVariant MakeBackwardVariant() {
  const auto text = [](int value) { return std::to_string(value); };
  return {"q" + text(C::kBlockQueries) + " s" + text(C::kStages) + " copy" +
              text(C::kCopyDq) + " spread" + text(C::kSpread),
          C::kHeadDim, true, sm90::LaunchBackward<C>};
}

}  // namespace

// Queries a block, stages, dQ by the copy engine, spread of starts.
std::vector<BackwardVariant> BackwardVariants64() {
  return {MakeBackwardVariant<TunedBackward<64, 96, 2, 1, 1>>(),
          MakeBackwardVariant<TunedBackward<64, 96, 2, 0, 8>>(),
          MakeBackwardVariant<TunedBackward<64, 64, 2, 1, 8>>()};
}

std::vector<BackwardVariant> BackwardVariants128() {
  return {MakeBackwardVariant<TunedBackward<128, 64, 2, 1, 1>>(),
          MakeBackwardVariant<TunedBackward<128, 64, 2, 0, 8>>(),
          MakeBackwardVariant<TunedBackward<128, 32, 3, 1, 8>>()};
}

}  // namespace intarsia::bench
