#include <cmath>

#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia {

std::vector<double> GatedLinearReference(
    const Batch& batch, const GatedLinearDims& dims, double scale,
    const std::vector<double>& q, const std::vector<double>& k,
    const std::vector<double>& v, const std::vector<double>& a,
    std::vector<double>* state) {
  const int64_t H = dims.heads, G = dims.groups;
  const int64_t K = dims.key_dim, V = dims.value_dim;
  std::vector<double> out(batch.size() * H * V, 0.0);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t h = 0; h < H; ++h) {
      const int64_t g = h / (H / G);
      std::vector<double> s(K * V, 0.0);
      if (state != nullptr) {
        s.assign(state->begin() + (n * H + h) * K * V,
                 state->begin() + (n * H + h + 1) * K * V);
      }
      for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
        for (int64_t i = 0; i < K; ++i) {
          const double key = k[(t * G + g) * K + i];
          const double query = q[(t * G + g) * K + i];
          for (int64_t j = 0; j < V; ++j) {
            double& cell = s[i * V + j];
            cell = std::exp(a[t * H + h]) * cell + key * v[(t * H + h) * V + j];
            out[(t * H + h) * V + j] += scale * query * cell;
          }
        }
      }
      if (state != nullptr) {
        std::copy(s.begin(), s.end(), state->begin() + (n * H + h) * K * V);
      }
    }
  }
  return out;
}

}  // namespace intarsia
