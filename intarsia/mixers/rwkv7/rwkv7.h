// RWKV-7: a matrix state per head that fades by channel and replaces what it
// had under a key that the token chooses apart from what it writes. Peng et al.
// 2025, "RWKV-7 Goose". README.md beside this file has the equations and the
// traps.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "intarsia/mixers/common/delta_rule.h"
#include "intarsia/mixers/stream_mixer.h"

namespace intarsia {

struct Rwkv7Config {
  int dim = 0;       // D
  int heads = 0;     // H
  int head_dim = 0;  // N
  // Of the projections of decays, of learning rates, of the mix of values and
  // of the gate.
  int decay_rank = 64, rate_rank = 64, value_rank = 32, gate_rank = 128;
  float norm_eps = 64e-5f;
  // The first layer's values are the named value "v_first" for later ones,
  // which mix them into theirs.
  enum class Values : uint8_t { kOwn, kFirst, kLater } values = Values::kOwn;
  int chunk = 64;

  void Visit(Fields& f);
};

class Rwkv7 final : public StreamMixer {
 public:
  // x_r, x_w, x_k, x_v, x_a, x_g [D]; r_proj, k_proj, v_proj [H·N, D]; decay_a
  // [R, D], decay_b [H·N, R], decay_b_bias [H·N]; rate_a, rate_b, rate_b_bias,
  // of a later layer value_a, value_b, value_b_bias; gate_a, gate_b; k_k, k_a
  // [H·N], r_k [H, N], norm, norm_bias [H·N]; o_proj [D, H·N].
  explicit Rwkv7(const Rwkv7Config& config);

  // "x" [D], the last input, and "S" [H, N, N], per sequence.
  std::vector<StateSpec> state() const override;
  std::vector<StreamSpec> reads() const override;
  std::vector<StreamSpec> writes() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles ReferenceWith(const Batch& batch, const std::vector<Doubles>& weights,
                        const Doubles& x,
                        ReferenceStreams* streams) const override;

 private:
  struct LowRank {
    WeightHandle a, b, bias;
  };
  LowRank AddLowRank(const char* name, int rank, bool bias);
  Tensor Values(Context& ctx, const Tensor& v, const Tensor& mixed) const;

  Rwkv7Config config_;
  std::array<WeightHandle, 6> mix_;  // of r, w, k, v, a, g
  WeightHandle r_, k_, v_, out_, k_k_, k_a_, r_k_, norm_, norm_bias_;
  LowRank decay_, rate_, value_, gate_;
};

Result<std::unique_ptr<Mixer>> CreateRwkv7(const Json& config, int dim);
void Rwkv7Fields(Fields& f, int dim);
std::vector<MixerExample> Rwkv7Examples();

}  // namespace intarsia
