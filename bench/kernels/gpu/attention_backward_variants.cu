#include "bench/kernels/gpu/attention_backward_variants.h"

#include "intarsia/mixers/attention/sm90_attention_backward_launch.cuh"

namespace intarsia::bench {
namespace {

template <int kD, int kQ, int kS>
struct TunedBackward {
  static constexpr int kHeadDim = kD;
  static constexpr int kBlockQueries = kQ;
  static constexpr int kStages = kS;
};

template <class C>
BackwardVariant MakeBackwardVariant() {
  return {"q" + std::to_string(C::kBlockQueries) + " s" +
              std::to_string(C::kStages),
          C::kHeadDim, sm90::LaunchBackward<C>};
}

}  // namespace

// Queries a block, stages.
std::vector<BackwardVariant> BackwardVariants64() {
  return {MakeBackwardVariant<TunedBackward<64, 64, 2>>(),
          MakeBackwardVariant<TunedBackward<64, 64, 3>>(),
          MakeBackwardVariant<TunedBackward<64, 96, 2>>(),
          MakeBackwardVariant<TunedBackward<64, 96, 3>>()};
}

std::vector<BackwardVariant> BackwardVariants128() {
  return {MakeBackwardVariant<TunedBackward<128, 64, 2>>(),
          MakeBackwardVariant<TunedBackward<128, 64, 3>>(),
          MakeBackwardVariant<TunedBackward<128, 32, 3>>()};
}

}  // namespace intarsia::bench
