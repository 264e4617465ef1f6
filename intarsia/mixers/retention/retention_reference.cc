#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/retention/retention.h"

namespace intarsia {

Doubles Retention::Reference(const Batch& batch,
                             const std::vector<Doubles>& weights,
                             const Doubles& x) const {
  const RetentionConfig& c = config_;
  const reference::Weights w(book_, weights);
  Doubles q = w.Linear(x, q_), k = w.Linear(x, k_);
  reference::Rotate(c.rope, batch.positions, c.heads, c.key_dim, &q);
  reference::Rotate(c.rope, batch.positions, c.heads, c.key_dim, &k);

  Doubles decay(batch.size() * c.heads);
  for (size_t i = 0; i < decay.size(); ++i) {
    decay[i] = std::log(1.0 - std::pow(2.0, -5.0 - double(i % c.heads)));
  }
  const GatedLinearDims dims = {.heads = c.heads,
                                .groups = c.heads,
                                .key_dim = c.key_dim,
                                .value_dim = c.value_dim};
  Doubles o = GatedLinearReference(batch, dims, c.scale, q, k, w.Linear(x, v_),
                                   decay, nullptr);
  o = w.Normalize(norm_, o, c.value_dim);
  if (c.gate) o = reference::Gated(*c.gate, w.Linear(x, gate_), o);
  return w.Linear(o, out_);
}

}  // namespace intarsia
