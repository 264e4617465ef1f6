#include <cmath>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/mixers/retention/retention.h"

namespace intarsia {

std::vector<double> Retention::Reference(
    const Batch& batch, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  using reference::Linear;
  const RetentionConfig& c = config_;
  const int64_t keys = int64_t{c.heads} * c.key_dim;
  const int64_t values = int64_t{c.heads} * c.value_dim;
  const std::vector<int> positions(batch.positions.begin(),
                                   batch.positions.end());

  std::vector<double> q = Linear(x, weights[0], nullptr, keys, c.dim);
  std::vector<double> k = Linear(x, weights[1], nullptr, keys, c.dim);
  const std::vector<double> v = Linear(x, weights[2], nullptr, values, c.dim);
  reference::Rotate(c.rope, positions, c.heads, c.key_dim, &q);
  reference::Rotate(c.rope, positions, c.heads, c.key_dim, &k);

  std::vector<double> decay(batch.size() * c.heads);
  for (size_t i = 0; i < decay.size(); ++i) {
    decay[i] = std::log(1.0 - std::pow(2.0, -5.0 - double(i % c.heads)));
  }
  GatedLinearDims dims;
  dims.heads = dims.groups = c.heads;
  dims.key_dim = c.key_dim;
  dims.value_dim = c.value_dim;
  std::vector<double> o =
      GatedLinearReference(batch, dims, c.scale, q, k, v, decay, nullptr);
  o = reference::Normalize(c.norm, o, c.value_dim,
                           norms_ > 0 ? &weights[norm_] : nullptr,
                           norms_ > 1 ? &weights[norm_ + 1] : nullptr);
  if (c.gate) {
    const std::vector<double> g = Linear(x, weights[3], nullptr, values, c.dim);
    for (size_t i = 0; i < o.size(); ++i) {
      o[i] *= ReferenceActivation(*c.gate, g[i]);
    }
  }
  return Linear(o, weights.back(), nullptr, c.dim, values);
}

}  // namespace intarsia
