#include "intarsia/mixers/attention/sm90_attention_forward.cuh"
#include "intarsia/mixers/attention/sm90_attention_forward_hd.h"

namespace intarsia::sm90 {
namespace {

struct Config : ForwardDefaults {
  static constexpr int kHeadDim = 64;
  static constexpr int kWarpgroups = 3;
  static constexpr int kBlockKeys = 128;
};

}  // namespace

cudaError_t AttentionForwardHd64(const Sm90AttentionForwardArgs& args,
                                 cudaStream_t stream) {
  return DispatchForward<Config, Config, Config>(args, stream);
}

}  // namespace intarsia::sm90
