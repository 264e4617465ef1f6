#include <cmath>

#include "intarsia/mixers/common/delta_rule.h"

namespace intarsia {

std::vector<double> DeltaRuleReference(const Batch& batch,
                                       const DeltaRuleReferenceInputs& in,
                                       std::vector<double>* state) {
  const int64_t H = in.heads, K = in.key_dim, V = in.value_dim;
  std::vector<double> out(batch.size() * H * V, 0.0);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t h = 0; h < H; ++h) {
      std::vector<double> s(K * V, 0.0), erased(V);
      if (state != nullptr) {
        s.assign(state->begin() + (n * H + h) * K * V,
                 state->begin() + (n * H + h + 1) * K * V);
      }
      for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
        const int64_t keys = (t * H + h) * K, values = (t * H + h) * V;
        const auto read = [&] {
          for (int64_t i = 0; i < K; ++i) {
            for (int64_t j = 0; j < V; ++j) {
              out[values + j] += in.scale * in.q[keys + i] * s[i * V + j];
            }
          }
        };
        if (in.before) read();
        erased.assign(V, 0.0);
        for (int64_t i = 0; i < K; ++i) {
          for (int64_t j = 0; j < V; ++j) {
            const double old = s[i * V + j];
            if (!in.log_decay.empty()) {
              s[i * V + j] *= std::exp(in.log_decay[keys + i]);
            }
            if (!in.erase.empty()) {
              erased[j] +=
                  in.erase[keys + i] * (in.erase_before ? old : s[i * V + j]);
            }
          }
        }
        const std::vector<double>& x = in.removal.empty() ? in.k : in.removal;
        for (int64_t i = 0; i < K; ++i) {
          for (int64_t j = 0; j < V; ++j) {
            s[i * V + j] +=
                in.k[keys + i] * in.v[values + j] - x[keys + i] * erased[j];
          }
        }
        if (!in.before) read();
      }
      if (state != nullptr) {
        std::copy(s.begin(), s.end(), state->begin() + (n * H + h) * K * V);
      }
    }
  }
  return out;
}

std::vector<double> RepeatGroups(const std::vector<double>& x, int64_t groups,
                                 int64_t heads, int64_t channels) {
  std::vector<double> y;
  y.reserve(x.size() / groups * heads);
  for (size_t row = 0; row < x.size(); row += groups * channels) {
    for (int64_t h = 0; h < heads; ++h) {
      const auto from = x.begin() + row + h / (heads / groups) * channels;
      y.insert(y.end(), from, from + channels);
    }
  }
  return y;
}

}  // namespace intarsia
