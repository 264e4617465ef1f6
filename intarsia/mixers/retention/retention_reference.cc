#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/retention/retention.h"

namespace intarsia {

std::vector<double> Retention::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  const RetentionConfig& c = config_;
  const reference::Weights w(book_, weights);
  std::vector<double> q = w.Linear(x, q_), k = w.Linear(x, k_);
  reference::Rotate(c.rope, batch.positions, c.heads, c.key_dim, &q);
  reference::Rotate(c.rope, batch.positions, c.heads, c.key_dim, &k);

  std::vector<double> decay(batch.size() * c.heads);
  for (size_t i = 0; i < decay.size(); ++i) {
    decay[i] = std::log(1.0 - std::pow(2.0, -5.0 - double(i % c.heads)));
  }
  GatedLinearDims dims;
  dims.heads = dims.groups = c.heads;
  dims.key_dim = c.key_dim;
  dims.value_dim = c.value_dim;
  std::vector<double> o = GatedLinearReference(batch, dims, c.scale, q, k,
                                               w.Linear(x, v_), decay, nullptr);
  o = w.Normalize(norm_, o, c.value_dim);
  if (c.gate) o = reference::Gated(*c.gate, w.Linear(x, gate_), o);
  return w.Linear(o, out_);
}

}  // namespace intarsia
