#include "intarsia/channel_mixers/mlp/mlp.h"
#include "intarsia/channel_mixers/mlp/xielu.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {

std::vector<double> Mlp::Reference(
    const Batch&, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const reference::Weights w(book_, weights);
  reference::Doubles h = w.Linear(x, up_, up_bias_);
  for (double& value : h) {
    value = config_.xielu
                ? ReferenceXielu(value, {w[xielu_[0]][0], w[xielu_[1]][0],
                                         w[xielu_[2]][0], w[xielu_[3]][0]})
                : ReferenceActivation(config_.activation, value);
  }
  return w.Linear(h, down_, down_bias_);
}

}  // namespace intarsia
