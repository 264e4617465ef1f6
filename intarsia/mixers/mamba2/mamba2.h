// Mamba-2: a state space layer with a scalar decay per head that each token
// chooses. Dao and Gu 2024, "Transformers are SSMs". README.md beside this file
// has the equations, the shapes and the traps.
#pragma once

#include <array>
#include <limits>
#include <memory>

#include "intarsia/mixers/common/gated_linear.h"
#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

struct Mamba2Config {
  int dim = 0;        // D
  int heads = 0;      // H
  int head_dim = 0;   // P; the inner width is I = H·P
  int state_dim = 0;  // N
  int groups = 1;     // G, of heads that share B and C
  int conv_width = 4;
  bool conv_bias = true;
  Activation conv_activation = Activation::kSilu;
  bool bias = false;  // of all projections
  // What z, x, B, C and the raw steps are multiplied with after their
  // projections.
  std::array<float, 5> in_multipliers = {1, 1, 1, 1, 1};
  bool norm = true;  // the gated norm; false: the gate alone
  float norm_eps = 1e-5f;
  int norm_groups = 1;  // the gated norm runs over I / norm_groups channels
  bool norm_before_gate = false;
  float dt_min = 0.0f, dt_max = std::numeric_limits<float>::infinity();
  int chunk = 64;

  void Visit(Fields& f);
};

// From raw steps [T, H] and inputs x [T, H, P]:
//   Δ = clamp(softplus(raw + dt_bias), dt_min, dt_max)   [T, H]
//   log_decay = −Δ exp(A_log)    value = Δ x
// Differentiable in raw, x and both weights [H].
struct Mamba2Steps {
  Tensor log_decay;  // [T, H]
  Tensor value;      // [T, H, P]
};
Mamba2Steps Discretize(Context& ctx, const Tensor& raw, const Tensor& x,
                       const Weight& dt_bias, const Weight& a_log, float dt_min,
                       float dt_max);

// y + D ⊙ x by head: y, x [T, H, P], d [H]. Differentiable in all three.
Tensor AddSkip(Context& ctx, const Tensor& y, const Tensor& x, const Weight& d);

// The recurrence alone: b, c [T, G, N] and the steps above → y [T, H, P]
// (without D x), state [segments, H, P, N] and decay [segments, H]; state_in
// may be undefined.
GatedLinearResult Mamba2Core(Context& ctx, const Tensor& b, const Tensor& c,
                             const Mamba2Steps& steps, const Tensor& state_in,
                             int chunk);

class Mamba2 final : public Mixer {
 public:
  // in_z, in_x [I, D], in_B, in_C [G·N, D], in_dt [H, D], their biases "in_z_
  // bias" ... if any, conv_x [I, W], conv_B, conv_C [G·N, W], their biases,
  // dt_bias, A_log, D [H], norm [I] (if any), out_proj [D, I], out_bias.
  explicit Mamba2(const Mamba2Config& config);

  // conv_x [I, W−1], conv_B, conv_C [G·N, W−1], ssm [H, P, N], per sequence.
  std::vector<StateSpec> state() const override;
  bool bf16() const override { return true; }
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  Tensor Convolve(Context& ctx, const Tensor& x, LinearHandles conv,
                  size_t state) const;
  // The recurrence with its steps and skip connection, [T, H, P].
  Tensor Recur(Context& ctx, const Tensor& raw, const Tensor& x,
               const Tensor& b, const Tensor& c) const;
  // `gated`: y is y ⊙ silu(z) already.
  Tensor GateAndNorm(Context& ctx, const Tensor& y, const Tensor& z,
                     bool gated) const;
  // A decoding step on a GPU up to the norm, with the gate where it comes
  // before; undefined where no kernel takes it.
  Tensor DecodeStep(Context& ctx, const Tensor& z, const Tensor& x,
                    const Tensor& b, const Tensor& c, const Tensor& raw) const;

  Mamba2Config config_;
  LinearHandles z_, x_, b_, c_, dt_;         // of in_z, in_x ...
  LinearHandles conv_x_, conv_b_, conv_c_;   // [channels, W] and their biases
  WeightHandle dt_bias_, a_log_, d_, norm_;  // no norm_ without the norm
  LinearHandles out_;
};

Result<std::unique_ptr<Mixer>> CreateMamba2(const Json& config, int dim);
void Mamba2Fields(Fields& f, int dim);
std::vector<MixerExample> Mamba2Examples();

}  // namespace intarsia
