// Softmax attention with grouped heads, rotary positions, windows and prefixes.
// README.md beside this file has the equation, the mask and the traps.
//
// Shapes: T tokens of all segments end to end, H query heads, G key/value heads
// (H a multiple of G; query head h reads head h / (H/G)), K channels of a query
// and key head, V of a value head (the mixer has K = V = head_dim).
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/norm/norm.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {

// Which keys a query sees, by the positions of both in one sequence.
struct AttentionMask {
  // kCausal: keys at or before the query. kPrefix: these, and every key before
  // position `prefix`. kBidirectional: all.
  enum class Kind : uint8_t { kCausal, kBidirectional, kPrefix };
  Kind kind = Kind::kCausal;
  int64_t prefix = 0;
  // > 0: only keys less than this many positions away. Keys of the prefix stay
  // in sight.
  int64_t window = 0;
  // > 0: only keys of the query's own chunk of so many positions.
  int64_t chunk = 0;
};

// The core: no projections, norms or rotation.
struct AttentionCoreConfig {
  AttentionMask mask;
  double scale = 0.0;    // of the scores; 0: 1/√K
  double softcap = 0.0;  // > 0: scores become cap · tanh(score / cap)
  // [H] or empty: slopes[h] · (key's position − query's) is added to scores
  // (ALiBi).
  std::vector<float> slopes = {};
  // > 0, with biases of keys and a causal mask alone: a query sees so many of
  // its keys, those of the largest biases and all that equal the least of them.
  int64_t keep = 0;
  // Tuned kernels and a GPU's know nothing of these.
  bool plain() const { return slopes.empty() && keep == 0 && mask.chunk == 0; }
};

// Where keys and values come from. Entry e of a segment is its e-th row (k, v)
// or its sequence's e-th stored token (pages).
struct AttentionKeys {
  Tensor k, v;       // [T, G, K], [T, G, V] fp32 of the batch's tokens
  Tensor bias = {};  // [T, G, 1], added to a key's scores; undefined: none
  // Instead of k and v: stored entries, this batch's own already appended.
  const TokenPages* k_pages = nullptr;
  const TokenPages* v_pages = nullptr;
  const TokenPages* bias_pages = nullptr;  // null: no biases
  // Rows and positions of k, v where they are not ctx.batch's: as many
  // segments, other tokens of the same sequences (ring attention).
  const Batch* batch = nullptr;
  // Only these entries of each segment: one part of a split over keys.
  int64_t begin = 0;
  int64_t end = std::numeric_limits<int32_t>::max();
};

struct AttentionResult {
  Tensor out;  // [T, H, V]; 0 where a query saw no key
  Tensor lse;  // [T, H], log Σ exp(score) of the keys seen; −inf for none
};

// q: [T, H, K] fp32. sinks: [H] or null, a further score a head whose value is
// zero (Xiao et al. 2023); a split counts it in one of its parts only.
// Positions ascend within a segment. A query's result is the same bits whatever
// other rows stand in the batch, and whether keys come from the batch or from
// fp32 pages. Differentiable in q, k, v, biases and sinks, not through pages.
// Slopes, biases, `keep` and chunks are for the CPU.
AttentionResult AttentionCore(Context& ctx, const Tensor& q,
                              const AttentionKeys& keys,
                              const AttentionCoreConfig& config,
                              const Weight* sinks = nullptr);

// The attention over the union of the keys that a and b saw, which must be
// disjoint. Differentiable in all four tensors.
AttentionResult MergeAttention(Context& ctx, const AttentionResult& a,
                               const AttentionResult& b);

// The core's equation in double precision by plain loops. `keys` holds rows and
// positions of k and v; sinks may be null.
struct AttentionReference {
  std::vector<double> out, lse;
};
AttentionReference ReferenceAttentionCore(
    const Batch& queries, const Batch& keys, int64_t heads, int64_t kv_heads,
    const std::vector<double>& q, const std::vector<double>& k,
    const std::vector<double>& v, const AttentionCoreConfig& config,
    const std::vector<double>* sinks,
    const std::vector<double>* bias = nullptr);

struct AttentionConfig {
  int dim = 0;      // D, of what comes in
  int out_dim = 0;  // of what comes out, D unless the configuration says
  int heads = 0, kv_heads = 0, head_dim = 0;
  bool bias_q = false, bias_k = false, bias_v = false, bias_o = false;
  RopeConfig rope = {.enabled = false};
  double clip = 0.0;  // > 0: queries, keys and values are cut to ±clip
  // Of queries and keys, before rotation or after it: of each head's channels,
  // of all heads' together, or of each head's with weights of its own.
  NormConfig qk_norm = {.kind = NormConfig::Kind::kNone};
  enum class Over : uint8_t { kHead, kAll, kEach } qk_norm_over = Over::kHead;
  bool qk_norm_after_rope = false;
  NormConfig v_norm = {.kind = NormConfig::Kind::kNone};  // of each value head
  // Of all heads' outputs together, before o_proj.
  NormConfig out_norm = {.kind = NormConfig::Kind::kNone};
  // The output ⊙ σ(W_g x): a gate a channel, or one a head.
  enum class Gate : uint8_t { kNone, kElement, kHead } gate = Gate::kNone;
  double alibi = 0.0;  // factor of the heads' slopes (Press et al. 2022)
  // Doge's: exp(A softplus(W_dt v)) of a token's values is added to its scores.
  bool dynamic_mask = false;
  AttentionCoreConfig core;
  bool sinks = false;

  void Visit(Fields& f);
};

// The slopes of `heads` heads, [heads]: powers of 2^(−8/n) where n, the number
// of heads, is a power of two; else those of the next lower one and then every
// other one of the next higher one.
std::vector<float> AlibiSlopes(int heads);

class Attention final : public Mixer {
 public:
  // q_proj [H·K, D], k_proj, v_proj [G·K, D], o_proj [out_dim, H·K]; then those
  // that the configuration has: q_bias, k_bias, v_bias, o_bias, q_norm,
  // k_norm [K] (all: [H·K], [G·K]; each: [H, K], [G, K]), v_norm [K], out_norm
  // [H·K], sinks [H], g_proj [H·K or H, D], mask_proj [G, G·K], mask_decay [G].
  // A rank may hold any slice of whole key/value heads.
  explicit Attention(const AttentionConfig& config);

  // "k" (rotated) and "v", an entry [G, K] a token, and "mask" [G, 1] with a
  // dynamic mask. None when bidirectional: such a mixer needs whole sequences.
  std::vector<StateSpec> state() const override;
  bool bf16() const override { return true; }
  int64_t state_ends() const override;  // where longrope changes its factors
  int out_dim() const override { return config_.out_dim; }
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

  const AttentionConfig& config() const { return config_; }

 private:
  Tensor NormAndTurn(Context& ctx, const Tensor& flat,
                     const NormHandle& norm) const;

  AttentionConfig config_;
  WeightHandle q_, k_, v_, o_, q_bias_, k_bias_, v_bias_, o_bias_;
  WeightHandle sinks_, gate_, mask_, mask_decay_;
  NormHandle q_norm_, k_norm_, v_norm_, out_norm_;
};

Result<std::unique_ptr<Mixer>> CreateAttention(const Json& config, int dim);
void AttentionFields(Fields& f, int dim);
std::vector<MixerExample> AttentionExamples();

}  // namespace intarsia
