#include "intarsia/mixers/attention/sm90_attention_forward.cuh"
#include "intarsia/mixers/attention/sm90_attention_forward_hd.h"

namespace intarsia::sm90 {
namespace {

template <int kKeys>
struct Config : ForwardDefaults {
  static constexpr int kHeadDim = 128;
  static constexpr int kBlockKeys = kKeys;
};

}  // namespace

cudaError_t AttentionForwardHd128(const Sm90AttentionForwardArgs& args,
                                  cudaStream_t stream) {
  return DispatchForward<Config<160>, Config<160>, Config<128>>(args, stream);
}

}  // namespace intarsia::sm90
