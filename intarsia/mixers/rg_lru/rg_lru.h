// Griffin's recurrent block: a convolution and the real-gated linear recurrent
// unit beside a gate. De et al. 2024, "Griffin: Mixing Gated Linear Recurrences
// with Local Attention for Efficient Language Models". README.md beside this
// file has the equations and the traps.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

struct RgLruConfig {
  int dim = 0;    // D
  int inner = 0;  // I, channels of the recurrence
  int heads = 0;  // H, blocks of the gates' matrices; B = I / H
  int conv_width = 4;
  bool bias = true;  // of in_x, in_y and out_proj
  bool conv_bias = true;
  Activation activation = Activation::kGeluTanh;  // of the gate in_y

  void Visit(Fields& f);
};

// The recurrence alone. For token t at position p and channel i:
//   ρ = σ(r[t, i] + r_bias[i])    ι = σ(g[t, i] + g_bias[i])
//   log a = −8 ρ softplus(param[i])
//   h[i] = a h[i] + (p = 0 ? 1 : √(1 − a²)) ι x[t, i]
// x, r, g [T, I], the weights [I]; returns h of each token, [T, I]. `states`
// [slots, I] fp32 is read and updated at batch.slots; null: sequences start
// from zero. Without states differentiable in all inputs.
struct RgLruInputs {
  Tensor x, r, g;
  const Weight &param, &r_bias, &g_bias;
};
Tensor RgLruCore(Context& ctx, const RgLruInputs& in, Tensor* states = nullptr);

class RgLru final : public Mixer {
 public:
  // in_x, in_y [I, D], conv_x [I, W], recurrent_gate, input_gate [H, B, B]
  // (rows are outputs), their biases [I], recurrent_param [I], out_proj [D, I],
  // and the biases "in_x_bias", "in_y_bias", "conv_x_bias", "out_bias", if any.
  explicit RgLru(const RgLruConfig& config);

  // conv_x [I, W−1], h [I], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  // x [T, I] through both blocks of matrices, each head by its own.
  std::vector<Tensor> Gates(Context& ctx, const Tensor& x) const;

  RgLruConfig config_;
  LinearHandles x_, y_, conv_, out_;
  WeightHandle r_, g_, r_bias_, g_bias_, param_;
};

Result<std::unique_ptr<Mixer>> CreateRgLru(const Json& config, int dim);
void RgLruFields(Fields& f, int dim);
std::vector<MixerExample> RgLruExamples();

}  // namespace intarsia
