// Makes a ForwardVariant of template parameters; its name lists them.
#pragma once

#include "bench/kernels/gpu/attention_forward_variants.h"
#include "intarsia/mixers/attention/sm90_attention_forward.cuh"

namespace intarsia::bench {

template <int kD, int kW, int kN, int kS, int kPing, int kPoly, int kLazily,
          int kOut>
struct TunedForward {
  static constexpr int kHeadDim = kD;
  static constexpr int kWarpgroups = kW;
  static constexpr int kBlockKeys = kN;
  static constexpr int kStages = kS;
  static constexpr bool kPingPong = kPing;
  static constexpr int kPolynomialEighths = kPoly;
  static constexpr bool kLazy = kLazily;
  static constexpr bool kSeparateOut = kOut;
};

template <class C>
cudaError_t LaunchTuned(const Sm90AttentionForwardArgs& args,
                        cudaStream_t stream) {
  return args.causal ? sm90::LaunchForward<C, sm90::Mask::kCausal>(args, stream)
                     : sm90::LaunchForward<C, sm90::Mask::kNone>(args, stream);
}

template <class C>
ForwardVariant MakeForwardVariant() {
  const auto text = [](int value) { return std::to_string(value); };
  return {"w" + text(C::kWarpgroups) + " n" + text(C::kBlockKeys) + " s" +
              text(C::kStages) + " pingpong" + text(C::kPingPong) + " poly" +
              text(C::kPolynomialEighths) + " lazy" + text(C::kLazy) + " out" +
              text(C::kSeparateOut),
          C::kHeadDim, false, LaunchTuned<C>};
}

}  // namespace intarsia::bench
