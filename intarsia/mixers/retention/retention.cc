#include "intarsia/mixers/retention/retention.h"

#include <cmath>

#include "intarsia/distributed/tensor_parallel.h"

namespace intarsia {

void RetentionConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 12});
  f.Int("key_dim", &key_dim, {1, 1 << 14});
  f.Int("value_dim", &value_dim, {1, 1 << 14});
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.ObjectOrOff("rope", &rope, &RopeConfig::enabled,
                [this](Fields& g) { rope.Visit(g, key_dim); });
  f.Object("norm", &norm);
  f.ChoiceOrOff("gate", &gate, ActivationNames());
  f.NumberOr("scale", &scale, 1 / std::sqrt(double(key_dim)), "key_dim^-1/2");
  f.Require(!rope.enabled || rope.dim > 0 || key_dim % 2 == 0,
            "\"rope\" turns pairs of channels: it needs an even \"key_dim\"");
  f.Require(!rope.by_length(),
            "\"rope.scaling\" by length: the state has no tokens to turn again",
            StatusCode::kUnsupported);
}

Tensor RetentionLogDecay(int first, int heads) {
  Tensor decay = Tensor::Empty({heads});
  for (int h = 0; h < heads; ++h) {
    decay.mutable_data<float>()[h] =
        static_cast<float>(std::log1p(-std::exp2(-5.0 - (first + h))));
  }
  return decay;
}

Retention::Retention(const RetentionConfig& config) : config_(config) {
  const int64_t dim = config.dim, K = config.key_dim, V = config.value_dim;
  const int64_t keys = config.heads * K, values = config.heads * V;
  q_ = book_.Matrix("q_proj", {keys, dim}, Rows(K));
  k_ = book_.Matrix("k_proj", {keys, dim}, Rows(K));
  v_ = book_.Matrix("v_proj", {values, dim}, Rows(V));
  if (config.gate) gate_ = book_.Matrix("g_proj", {values, dim}, Rows(V));
  norm_ = book_.Norm("norm", config.norm, V);
  out_ = book_.Matrix("o_proj", {dim, values}, Columns(V));
}

std::vector<StateSpec> Retention::state() const {
  return {{.name = "S",
           .shape = {config_.heads, config_.key_dim, config_.value_dim},
           .shard_axis = 0}};
}

Tensor Retention::Forward(Context& ctx, const Tensor& x) const {
  const int64_t K = config_.key_dim, V = config_.value_dim;
  std::vector<LinearHandles> layers = {{q_}, {k_}, {v_}};
  if (config_.gate) layers.push_back({gate_});
  const std::vector<Tensor> projected = Linears(ctx, x, layers);
  const Tensor q = Rope(ctx, SplitHeads(ctx, projected[0], K), config_.rope);
  const Tensor k = Rope(ctx, SplitHeads(ctx, projected[1], K), config_.rope);
  const Tensor v = SplitHeads(ctx, projected[2], V);
  // A rank's heads are a slice of all; its first counts for the decay.
  const int n = static_cast<int>(v.dim(1));
  const Tensor decay = RetentionLogDecay(TensorParallelRank(ctx) * n, n);
  const GatedLinearOptions options = {config_.scale, config_.chunk};
  Tensor y = ctx.state == nullptr
                 ? GatedLinear(ctx, q, k, v, decay, Tensor(), options).out
                 : GatedLinearInPlace(ctx, q, k, v, decay,
                                      &ctx.state->sequence(0), options);
  y = config_.gate
          ? NormThenGate(ctx, norm_, *config_.gate, y, projected[3])
          : ReshapeView(ctx, ApplyNorm(ctx, norm_, y), projected[2].shape());
  return OutLinear(ctx, y, out_);
}

Result<std::unique_ptr<Mixer>> CreateRetention(const Json& json, int dim) {
  return MakeMixer<Retention, RetentionConfig>(json, "retention", dim);
}

void RetentionFields(Fields& f, int dim) {
  VisitFresh<RetentionConfig>(f, dim);
}

std::vector<MixerExample> RetentionExamples() {
  return {
      {.name = "published",
       .config = R"({"heads": 2, "key_dim": 16, "value_dim": 32})",
       .dim = 32},
      {.name = "tensor_cores",  // what tuned kernels take
       .config = R"({"heads": 1, "key_dim": 64, "value_dim": 64, "rope": {},
                     "norm": {"type": "rms", "eps": 1e-6}})",
       .dim = 8},
      {.name = "layer_norm_odd_sizes",
       .config = R"({"heads": 3, "key_dim": 6, "value_dim": 10, "chunk": 24,
                     "rope": {"interleaved": true, "theta": 500},
                     "norm": {"type": "layer", "eps": 1e-5}, "gate": "gelu"})",
       .dim = 20},
      {.name = "plain",
       .config = R"({"heads": 2, "key_dim": 9, "value_dim": 7, "rope": false,
                     "norm": {"type": "none"}, "gate": false, "scale": 0.5})",
       .dim = 16},
  };
}

}  // namespace intarsia
