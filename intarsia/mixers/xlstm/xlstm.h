// mLSTM, the matrix memory of xLSTM: linear attention whose state fades by a
// gate, takes in by an exponential gate, and is divided by what a vector of
// ones would give. Beck et al. 2024, "xLSTM: Extended Long Short-Term Memory";
// with capped gates Beck et al. 2025, "xLSTM 7B". README.md beside this file
// has the equations and the traps.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/common/gated_linear.h"
#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct XlstmConfig {
  int dim = 0;        // D
  int heads = 0;      // H
  int key_dim = 0;    // K of a head
  int value_dim = 0;  // V of a head
  float gate_softcap = 15.0f;
  float eps = 1e-6f;       // of the divisor
  float norm_eps = 1e-6f;  // of each head's norm
  int chunk = 64;

  void Visit(Fields& f);
};

// From both capped gates [T, H] and v [T, H, V]:
//   log_decay = log σ(f)                    [T, H]
//   value = e^i v, and e^i behind it        [T, H, V+1]
//   floor = eps e^m, m_t = max(log σ(f_t) + m_{t−1}, i_t)    [T, H]
// `m` [slots, H] is read and updated at batch.slots; null: sequences start from
// 0. Differentiable in i, f and v; floor counts as a constant.
struct XlstmGates {
  Tensor log_decay, value, floor;
};
XlstmGates OpenGates(Context& ctx, const Tensor& i, const Tensor& f,
                     const Tensor& v, float eps, Tensor* m = nullptr);
std::vector<Tensor*> TapeOutputs(XlstmGates* gates);

// sums [T, H, V+1] → [T, H, V]: the first V over max(|last|, 1) + floor.
// Differentiable in the sums.
Tensor DivideSums(Context& ctx, const Tensor& sums, const Tensor& floor);

class Xlstm final : public Mixer {
 public:
  // q_proj, k_proj [H·K, D], v_proj, o_gate [H·V, D], i_gate, f_gate [H, D],
  // i_gate_bias, f_gate_bias [H], norm [H·V], out_proj [D, H·V].
  explicit Xlstm(const XlstmConfig& config);

  // C [H, K, V+1] and m [H], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  XlstmConfig config_;
  WeightHandle q_, k_, v_, o_, norm_, out_;
  LinearHandles i_, f_;
};

Result<std::unique_ptr<Mixer>> CreateXlstm(const Json& config, int dim);
void XlstmFields(Fields& f, int dim);
std::vector<MixerExample> XlstmExamples();

}  // namespace intarsia
