// RWKV-4: a weighted mean of values by channel, whose weights fade with time.
// Peng et al. 2023, "RWKV: Reinventing RNNs for the Transformer Era". README.md
// beside this file has the equations and the traps.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct Rwkv4Config {
  int dim = 0;    // D
  int width = 0;  // C channels, D unless the configuration says

  void Visit(Fields& f);
};

// The weighted mean, by channel and with w = −e^decay:
//   y_t = (a_{t−1} + e^{u + k_t} v_t) / (b_{t−1} + e^{u + k_t})
//   a_t = e^w a_{t−1} + e^{k_t} v_t        b_t = e^w b_{t−1} + e^{k_t}
// k, v: [T, C]; decay, bonus u: [C]. States a e^{−p}, b e^{−p} and p, [slots,
// C] each, moved on at batch.slots, or null: sequences start. Differentiable in
// k, v and both weights.
struct WkvStates {
  Tensor *a, *b, *p;
};
Tensor Wkv(Context& ctx, const Tensor& k, const Tensor& v, const Weight& decay,
           const Weight& bonus, const WkvStates* states = nullptr);

class Rwkv4 final : public Mixer {
 public:
  // x_k, x_v, x_r [D]: shares of the token itself; k_proj, v_proj, r_proj
  // [C, D]; decay, bonus [C]; o_proj [D, C].
  explicit Rwkv4(const Rwkv4Config& config);

  // "x" [D], the last input; "a", "b", "p" [C], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  Rwkv4Config config_;
  WeightHandle x_k_, x_v_, x_r_, k_, v_, r_, decay_, bonus_, out_;
};

Result<std::unique_ptr<Mixer>> CreateRwkv4(const Json& config, int dim);
void Rwkv4Fields(Fields& f, int dim);
std::vector<MixerExample> Rwkv4Examples();

namespace rwkv4_internal {
// The vector-Jacobian product of Wkv on the CPU: gradients of k and v, and by
// token of e^decay's exponent w and of u.
struct WkvGradients {
  Tensor k, v, w, u;  // [T, C]; w and u summed over tokens are the weights'
};
WkvGradients WkvBackward(Context& ctx, const Tensor& k, const Tensor& v,
                         const Weight& decay, const Weight& bonus,
                         const Tensor& dy);
}  // namespace rwkv4_internal

}  // namespace intarsia
