#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/short_conv/short_conv.h"

namespace intarsia {

std::vector<double> ShortConv::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& input) const {
  const reference::Weights w(book_, weights);
  const auto gated = [&](LinearHandles gate, std::vector<double> x) {
    return reference::Gated(Activation::kNone,
                            w.Linear(input, gate.w, gate.bias), std::move(x));
  };
  const std::vector<double> y = reference::CausalConvolution(
      batch, Activation::kNone, gated(b_, w.Linear(input, x_.w, x_.bias)),
      w[conv_.w], w.Find(conv_.bias), config_.dim, config_.width);
  return w.Linear(gated(c_, y), out_.w, out_.bias);
}

}  // namespace intarsia
