#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/gla/gla.h"

namespace intarsia {

std::vector<double> Gla::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const reference::Weights w(book_, weights);
  DeltaRuleReferenceInputs in;
  in.heads = config_.heads;
  in.key_dim = config_.key_dim;
  in.value_dim = config_.value_dim;
  in.scale = 1.0 / std::sqrt(double(config_.key_dim));
  in.q = w.Linear(x, q_);
  in.k = w.Linear(x, k_);
  in.v = w.Linear(x, v_);
  in.log_decay = w.Linear(w.Linear(x, decay_a_), decay_b_, decay_bias_);
  for (double& g : in.log_decay) {
    g = -std::log1p(std::exp(-g)) / config_.normalizer;
  }
  std::vector<double> y =
      w.Normalize(norm_, DeltaRuleReference(batch, in), config_.value_dim);
  if (config_.gate) {
    y = reference::Gated(*config_.gate, w.Linear(x, gate_), y);
  }
  return w.Linear(y, out_);
}

}  // namespace intarsia
