#include "intarsia/channel_mixers/glu/glu.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {

std::vector<double> Glu::Reference(
    const Batch&, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const reference::Weights w(book_, weights);
  reference::Doubles gate = w.Linear(x, gate_, gate_bias_);
  for (double& value : gate) value *= config_.gate_multiplier;
  const reference::Doubles h =
      reference::Gated(config_.activation, gate, w.Linear(x, up_, up_bias_));
  return w.Linear(w.Normalize(norm_, h, config_.hidden), down_, down_bias_);
}

}  // namespace intarsia
