#include "bench/kernels/gpu/attention_backward_variants.h"

#include "intarsia/mixers/attention/sm90_attention_backward_launch.cuh"

namespace intarsia::bench {
namespace {

template <int kD, int kQ, int kS, int kCopy, int kSpreads, int kGroup>
struct TunedBackward {
  static constexpr int kHeadDim = kD;
  static constexpr int kBlockQueries = kQ;
  static constexpr int kStages = kS;
  static constexpr bool kCopyDq = kCopy;
  static constexpr int kSpread = kSpreads;
  static constexpr int64_t kGroupBytes = int64_t{kGroup} << 20;
};

template <class C>
BackwardVariant MakeBackwardVariant() {
  return {"q" + std::to_string(C::kBlockQueries) + " s" +
              std::to_string(C::kStages) + " copy" +
              std::to_string(C::kCopyDq) + " spread" +
              std::to_string(C::kSpread) + " group" +
              std::to_string(C::kGroupBytes >> 20),
          C::kHeadDim, sm90::LaunchBackward<C>};
}

}  // namespace

// Queries a block, stages, dQ by the copy engine, spread of starts, MiB of a
// group of heads.
std::vector<BackwardVariant> BackwardVariants64() {
  return {MakeBackwardVariant<TunedBackward<64, 96, 2, 1, 1, 32>>()};
}

std::vector<BackwardVariant> BackwardVariants128() {
  return {MakeBackwardVariant<TunedBackward<128, 64, 2, 1, 1, 32>>(),
          MakeBackwardVariant<TunedBackward<128, 64, 2, 1, 8, 512>>()};
}

}  // namespace intarsia::bench
