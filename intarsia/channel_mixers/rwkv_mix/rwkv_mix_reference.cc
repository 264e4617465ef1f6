#include <cmath>

#include "intarsia/channel_mixers/rwkv_mix/rwkv_mix.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {

std::vector<double> RwkvMix::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const reference::Weights w(book_, weights);
  const auto mix = [&](WeightHandle of) {
    return reference::ShiftedMix(batch, x, w[of], config_.dim,
                                 config_.of_current);
  };
  std::vector<double> h = w.Linear(mix(x_k_), key_);
  for (double& value : h) {
    value = ReferenceActivation(Activation::kRelu2, value);
  }
  const std::vector<double> y = w.Linear(h, value_);
  if (!config_.receptance) return y;
  return reference::Gated(Activation::kSigmoid,
                          w.Linear(mix(x_r_), receptance_), y);
}

}  // namespace intarsia
