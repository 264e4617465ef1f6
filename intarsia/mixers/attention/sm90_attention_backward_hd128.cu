#include "intarsia/mixers/attention/sm90_attention_backward_hd.h"
#include "intarsia/mixers/attention/sm90_attention_backward_launch.cuh"

namespace intarsia::sm90 {
namespace {

struct Config {
  static constexpr int kHeadDim = 128;
  static constexpr int kBlockQueries = 64;
  static constexpr int kStages = 2;
  static constexpr bool kCopyDq = true;
  static constexpr int kSpread = 8;
};

}  // namespace

cudaError_t AttentionBackwardHd128(const Sm90AttentionBackwardArgs& args,
                                   cudaStream_t stream) {
  return LaunchBackward<Config>(args, stream);
}

}  // namespace intarsia::sm90
