#include "intarsia/mixers/attention/sm90_attention_forward.cuh"
#include "intarsia/mixers/attention/sm90_attention_forward_hd.h"

namespace intarsia::sm90 {
namespace {

struct Config : ForwardDefaults {
  static constexpr int kHeadDim = 256;
  static constexpr int kBlockKeys = 80;
  static constexpr bool kSeparateOut = false;
};

}  // namespace

cudaError_t AttentionForwardHd256(const Sm90AttentionForwardArgs& args,
                                  cudaStream_t stream) {
  return DispatchForward<Config, Config, Config>(args, stream);
}

}  // namespace intarsia::sm90
