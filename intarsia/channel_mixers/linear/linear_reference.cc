#include "intarsia/channel_mixers/linear/linear.h"
#include "intarsia/mixers/common/reference_ops.h"

namespace intarsia {

std::vector<double> LinearMixer::Reference(
    const Batch&, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const reference::Weights w(book_, weights);
  return w.Linear(x, weight_, bias_);
}

}  // namespace intarsia
