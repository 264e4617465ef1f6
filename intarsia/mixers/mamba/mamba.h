// Mamba: a state space layer whose steps, inputs and outputs each token
// chooses. Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with
// Selective State Spaces". README.md beside this file has the equations and the
// traps.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

struct MambaConfig {
  int dim = 0;        // D
  int inner = 0;      // I, channels of the recurrence
  int state_dim = 0;  // N, states of a channel
  int dt_rank = 0;    // R, width of the steps before dt_proj
  int conv_width = 4;
  bool conv_bias = true;
  bool bias = false;  // of in_x, in_z and out_proj
  // Of the steps, B and C, each over its own width.
  NormConfig norm = {.kind = NormConfig::Kind::kNone};

  void Visit(Fields& f);
};

// The recurrence alone. For token t, channel i, state n, within a sequence:
//   Δ = softplus(dt[t, i] + dt_bias[i])
//   h[i, n] = exp(−Δ exp(A_log[i, n])) h[i, n] + Δ B[t, n] x[t, i]
//   y[t, i] = (Σ_n C[t, n] h[i, n] + D[i] x[t, i]) · silu(z[t, i])
// x, dt, z [T, I], b, c [T, N], a_log [I, N], d, dt_bias [I]; z undefined: no
// gate.
struct SelectiveScanInputs {
  Tensor x, dt, b, c, z;
  const Weight &a_log, &d, &dt_bias;
};
// y [T, I]. `states` [slots, I, N] fp32 is read and updated at batch.slots;
// null: sequences start from zero. Without states differentiable in all inputs.
Tensor SelectiveScan(Context& ctx, const SelectiveScanInputs& in,
                     Tensor* states = nullptr);

class Mamba final : public Mixer {
 public:
  // in_x, in_z [I, D], conv_x [I, W], x_dt [R, I], x_B, x_C [N, I], dt_proj
  // [I, R], dt_bias [I], A_log [I, N], D [I], out_proj [D, I], the biases
  // "in_x_bias", "in_z_bias", "conv_x_bias", "out_bias" and the norms
  // "dt_norm", "B_norm", "C_norm", if any.
  explicit Mamba(const MambaConfig& config);

  // conv_x [I, W−1], ssm [I, N], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  MambaConfig config_;
  LinearHandles x_, z_, conv_, out_;
  WeightHandle x_dt_, x_b_, x_c_;
  WeightHandle dt_proj_, dt_bias_, a_log_, d_;
  NormHandle dt_norm_, b_norm_, c_norm_;
};

Result<std::unique_ptr<Mixer>> CreateMamba(const Json& config, int dim);
void MambaFields(Fields& f, int dim);
std::vector<MixerExample> MambaExamples();

}  // namespace intarsia
