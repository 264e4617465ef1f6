// Delta rule: linear attention that erases what it had under a key before it
// writes. One room for DeltaNet, gated DeltaNet, Kimi's KDA and GDN-2, which
// differ in what fades, erases and writes by channel. README.md beside this
// file has the equations, the sources and the traps.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "intarsia/mixers/common/delta_rule.h"
#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

struct DeltaConfig {
  enum class By : uint8_t { kNone, kHead, kChannel };

  int dim = 0;         // D
  int heads = 0;       // H
  int key_heads = 0;   // G, of heads that share q and k
  int key_dim = 0;     // K of a head
  int value_dim = 0;   // V of a head
  int conv_width = 4;  // W; 0: no convolutions
  bool conv_bias = false;
  Activation conv_activation = Activation::kSilu;
  By decay = By::kHead;
  int decay_rank = 0;  // > 0: the projection of decays goes through so many
  // < 0: decays are decay_floor · sigmoid(e^{A_log} (raw + dt_bias)), so that
  // no step fades by more.
  float decay_floor = 0.0f;
  By erase = By::kHead;  // kChannel: of keys, and writes by channel of values
  float beta_scale = 1.0f;
  NormConfig norm = {};  // of each head's output
  // None: the output is not gated.
  std::optional<Activation> gate = Activation::kSilu;
  int gate_rank = 0;
  bool gate_bias = false;
  float qk_eps = 1e-6f;  // of the lengths of q and k
  int chunk = 64;

  void Visit(Fields& f);
};

// How a head's decay comes from raw numbers [T, H·C], C channels a head (or 1):
//   −e^{A_log} softplus(raw + dt_bias), or with a floor < 0
//   floor · sigmoid(e^{A_log} (raw + dt_bias))
// dt_bias [H·C], a_log [H]. Differentiable in raw and both weights.
Tensor LogDecays(Context& ctx, const Tensor& raw, const Weight& dt_bias,
                 const Weight& a_log, float floor);

// y[t, h] = x[t, h / (H/G)] ⊙ gate[t, h]: x [T, G, C], gate [T, H] or [T, H, C]
// → [T, H, C]. Differentiable in both.
Tensor GateHeads(Context& ctx, const Tensor& x, const Tensor& gate);

// The recurrence alone, for mixers that build on it. q, k [T, G, K] as they
// are; v [T, H, V]; beta: what is erased, [T, H] or by channel [T, H, K];
// write: what is written, undefined for beta, or [T, H, V]; log_decay [T, H],
// [T, H, K] or undefined; state_in [N, H, K, V] or undefined. With a pool of
// states [slots, H, K, V] these are moved on in place, and the result has none.
//   S' = Diag(e^g) S      S ← S' + kᵀ (write ⊙ v − (beta ⊙ k) S')
struct DeltaGates {
  Tensor beta, write, log_decay;
};
DeltaRuleResult DeltaCore(Context& ctx, const Tensor& q, const Tensor& k,
                          const Tensor& v, const DeltaGates& gates,
                          const Tensor& state_in,
                          const DeltaRuleOptions& options,
                          Tensor* pool = nullptr);

class Delta final : public Mixer {
 public:
  // q_proj, k_proj [G·K, D], v_proj [H·V, D]; with convolutions conv_q, conv_k
  // [G·K, W], conv_v [H·V, W] and their biases; beta_proj [H, D], or by channel
  // erase_proj [H·K, D] and write_proj [H·V, D]; with decays of C channels
  // decay_proj [H·C, D] (of a rank R: decay_a [R, D], decay_b [H·C, R]),
  // dt_bias [H·C], A_log [H]; with a gate gate_proj [H·V, D] (of a rank:
  // gate_a, gate_b) and its bias; those of the norm over V; o_proj [D, H·V].
  explicit Delta(const DeltaConfig& config);

  // "conv_q", "conv_k" [G·K, W−1], "conv_v" [H·V, W−1], "S" [H, K, V], per
  // sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  Tensor Convolve(Context& ctx, const Tensor& x, LinearHandles conv,
                  size_t state) const;

  DeltaConfig config_;
  WeightHandle q_, k_, v_, beta_, write_, decay_, decay_b_, dt_bias_, a_log_;
  WeightHandle gate_, gate_b_, gate_bias_, out_;
  LinearHandles conv_q_, conv_k_, conv_v_;
  NormHandle norm_;
};

Result<std::unique_ptr<Mixer>> CreateDelta(const Json& config, int dim);
void DeltaFields(Fields& f, int dim);
std::vector<MixerExample> DeltaExamples();

}  // namespace intarsia
