#include "intarsia/mixers/gla/gla.h"

#include <cmath>

namespace intarsia {

void GlaConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 12});
  f.Int("key_dim", &key_dim, {1, 1 << 14});
  f.Int("value_dim", &value_dim, {1, 1 << 14});
  f.IntOr("decay_rank", &decay_rank, {1, 1 << 16});
  f.NumberOr("normalizer", &normalizer);
  f.Object("norm", &norm);
  f.ChoiceOrOff("gate", &gate, ActivationNames());
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.Require(normalizer > 0, "\"normalizer\" must be positive");
}

Gla::Gla(const GlaConfig& config) : config_(config) {
  const int64_t dim = config.dim, K = config.key_dim, V = config.value_dim;
  const int64_t keys = config.heads * K, values = config.heads * V;
  q_ = book_.Matrix("q_proj", {keys, dim}, Rows(K));
  k_ = book_.Matrix("k_proj", {keys, dim}, Rows(K));
  v_ = book_.Matrix("v_proj", {values, dim}, Rows(V));
  decay_a_ = book_.Matrix("decay_a", {config.decay_rank, dim});
  decay_b_ = book_.Matrix("decay_b", {keys, config.decay_rank}, Rows(K));
  decay_bias_ = book_.Bias(decay_b_);
  if (config.gate) gate_ = book_.Matrix("gate_proj", {values, dim}, Rows(V));
  norm_ = book_.Norm("norm", config.norm, V);
  out_ = book_.Matrix("o_proj", {dim, values}, Columns(V));
}

std::vector<StateSpec> Gla::state() const {
  StateSpec s;
  s.name = "S";
  s.role = StateSpec::Role::kMatrix;
  s.shape = Shape({config_.heads, config_.key_dim, config_.value_dim});
  s.growth = StateSpec::Growth::kSequence;
  s.shard_axis = 0;
  return {s};
}

Tensor Gla::Forward(Context& ctx, const Tensor& x) const {
  const int64_t K = config_.key_dim, V = config_.value_dim;
  const auto heads = [&](const Tensor& y, int64_t channels) {
    return ReshapeView(ctx, y, {y.dim(0), y.dim(1) / channels, channels});
  };
  std::vector<LinearHandles> layers = {{q_}, {k_}, {v_}, {decay_a_}};
  if (config_.gate) layers.push_back({gate_});
  const std::vector<Tensor> in = Linears(ctx, x, layers);
  // log σ(y) = −softplus(−y).
  const Tensor raw = Linear(ctx, in[3], decay_b_, decay_bias_);
  const Tensor decay =
      Scale(ctx, Activate(ctx, Activation::kSoftplus, Scale(ctx, raw, -1.0f)),
            -1.0f / config_.normalizer);
  const DeltaRuleInputs inputs = {.q = heads(in[0], K),
                                  .k = heads(in[1], K),
                                  .v = heads(in[2], V),
                                  .erase = Tensor(),
                                  .removal = Tensor(),
                                  .log_decay = heads(decay, K)};
  DeltaRuleOptions options;
  options.scale = 1.0f / std::sqrt(static_cast<float>(K));
  options.chunk = config_.chunk;
  Tensor y =
      ctx.state == nullptr
          ? DeltaRule(ctx, inputs, Tensor(), options).out
          : DeltaRuleInPlace(ctx, inputs, &ctx.state->sequence(0), options);
  y = ReshapeView(ctx, ApplyNorm(ctx, norm_, y), in[2].shape());
  if (config_.gate) y = GatedActivation(ctx, *config_.gate, in[4], y);
  return OutLinear(ctx, y, out_);
}

Result<std::unique_ptr<Mixer>> CreateGla(const Json& json, int dim) {
  return MakeMixer<Gla, GlaConfig>(json, "gla", dim);
}

void GlaFields(Fields& f, int dim) { VisitFresh<GlaConfig>(f, dim); }

std::vector<MixerExample> GlaExamples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("published", 32, R"({"heads": 2, "key_dim": 16, "value_dim": 32})");
  add("strong_odd_sizes", 20,
      R"({"heads": 3, "key_dim": 7, "value_dim": 10, "decay_rank": 4,
          "normalizer": 0.5, "norm": {"type": "layer", "eps": 1e-5},
          "gate": false, "chunk": 24})");
  return examples;
}

}  // namespace intarsia
