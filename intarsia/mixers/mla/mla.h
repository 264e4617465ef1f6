// Multi-head latent attention: keys and values of all heads come from one
// narrow vector a token, which is all that is kept. DeepSeek-AI 2024,
// "DeepSeek-V2". README.md beside this file has the equations and the traps.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/attention/attention.h"
#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct MlaConfig {
  int dim = 0;           // D
  int heads = 0;         // H
  int query_rank = 0;    // 0: queries come from x at once
  int rank = 0;          // R of the latent
  int key_dim = 0;       // N channels of a head's key that have no position
  int rope_dim = 0;      // P channels that do, of one key for all heads
  int value_dim = 0;     // V
  RopeConfig rope = {};  // of the P channels
  float norm_eps = 1e-6f;
  double scale = 0.0;  // of the scores; 0: (N + P)^-1/2
  bool gate = false;   // a sigmoid for each head's output

  void Visit(Fields& f);
};

// Each head's rows through its own part of w [H·A, B]:
//   y[t, h] = x[t, h] W_h       x [T, H, A] → [T, H, B]
//   y[t, h] = W_h x[t, h, :B]   x [T, H, ≥ B] → [T, H, A]   (transposed)
// Differentiable in x and w. On the CPU.
Tensor MapHeads(Context& ctx, const Tensor& x, const Weight& w,
                bool transposed);

class Mla final : public Mixer {
 public:
  // q_nope [H·N, D], q_rope [H·P, D] (of a query rank: q_a [Rq, D], q_norm
  // [Rq], and these two from Rq channels); kv_a [R, D], k_rope [P, D], kv_norm
  // [R], k_up [H·N, R], v_up [H·V, R]; with a gate g_proj [H, D]; o_proj
  // [D, H·V].
  explicit Mla(const MlaConfig& config);

  // "c": the normed latent and the rotated key, an entry [1, R + P] a token.
  std::vector<StateSpec> state() const override;
  Status Supports(Device device) const override;  // the CPU
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  MlaConfig config_;
  WeightHandle q_a_, q_nope_, q_rope_, kv_a_, k_rope_, k_up_, v_up_, gate_,
      out_;
  NormHandle q_norm_, kv_norm_;
};

Result<std::unique_ptr<Mixer>> CreateMla(const Json& config, int dim);
void MlaFields(Fields& f, int dim);
std::vector<MixerExample> MlaExamples();

}  // namespace intarsia
