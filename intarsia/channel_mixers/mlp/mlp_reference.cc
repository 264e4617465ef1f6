#include "intarsia/channel_mixers/mlp/mlp.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {

std::vector<double> Mlp::Reference(
    const Batch&, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const reference::Weights w(book_, weights);
  reference::Doubles h = w.Linear(x, up_, up_bias_);
  for (double& value : h) {
    value = ReferenceActivation(config_.activation, value);
  }
  return w.Linear(h, down_, down_bias_);
}

}  // namespace intarsia
