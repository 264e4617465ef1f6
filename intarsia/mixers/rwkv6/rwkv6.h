// RWKV-5 and 6: linear attention whose state fades by channel, by constants
// (5) or as each token chooses (6), with a bonus for the token itself. Peng et
// al. 2024, "Eagle and Finch". README.md beside this file has the equations and
// the traps.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "intarsia/mixers/common/delta_rule.h"
#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct Rwkv6Config {
  int dim = 0;          // D
  int heads = 0;        // H
  int head_dim = 0;     // N
  int mix_rank = 32;    // of each share of the token before; 0: constant shares
  int decay_rank = 64;  // 0: constant decays
  // Constant shares are of the token itself, not of the one before it.
  bool of_current = false;
  float norm_eps = 64e-5f;
  int chunk = 64;

  void Visit(Fields& f);
};

class Rwkv6 final : public Mixer {
 public:
  // x_r, x_w (with decays by token), x_k, x_v, x_g [D]; with a mix rank R: x_x
  // [D], mix_a [5R, D] and mix_r, mix_w, mix_k, mix_v, mix_g [D, R]; r_proj,
  // k_proj, v_proj, g_proj [H·N, D]; decay [H·N] and, by token, decay_a [R, D],
  // decay_b [H·N, R]; bonus [H, N]; norm, norm_bias [H·N]; o_proj [D, H·N].
  explicit Rwkv6(const Rwkv6Config& config);

  // "x" [D], the last input, and "S" [H, N, N], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  // Of r, w, k, v, g: what goes into their projections.
  std::array<Tensor, 5> Mixed(Context& ctx, const Tensor& x) const;

  Rwkv6Config config_;
  std::array<WeightHandle, 5> share_, mix_b_;  // of r, w, k, v, g
  WeightHandle x_x_, mix_a_, r_, k_, v_, g_, out_;
  WeightHandle decay_, decay_a_, decay_b_, bonus_, norm_, norm_bias_;
};

Result<std::unique_ptr<Mixer>> CreateRwkv6(const Json& config, int dim);
void Rwkv6Fields(Fields& f, int dim);
std::vector<MixerExample> Rwkv6Examples();

}  // namespace intarsia
