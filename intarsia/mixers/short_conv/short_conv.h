// A short causal convolution between two gates, as LFM2 has it (Liquid AI 2025,
// "LFM2 Technical Report"; the double-gated short-range operator). README.md
// beside this file has the equation.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct ShortConvConfig {
  int dim = 0;        // D
  int width = 3;      // W, taps
  bool bias = false;  // of the projections and the convolution

  void Visit(Fields& f);
};

class ShortConv final : public Mixer {
 public:
  // in_B, in_C, in_x [D, D], conv [D, W], out_proj [D, D] and their biases
  // "in_B_bias", "in_C_bias", "in_x_bias", "conv_bias", "out_bias", if any.
  explicit ShortConv(const ShortConvConfig& config);

  // "conv" [D, W−1], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  ShortConvConfig config_;
  LinearHandles b_, c_, x_, conv_, out_;
};

Result<std::unique_ptr<Mixer>> CreateShortConv(const Json& config, int dim);
void ShortConvFields(Fields& f, int dim);
std::vector<MixerExample> ShortConvExamples();

}  // namespace intarsia
