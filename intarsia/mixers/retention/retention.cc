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
  const int rotated = rope.dim > 0 ? rope.dim : key_dim;
  f.Require(!rope.enabled || (rotated % 2 == 0 && rotated <= key_dim),
            "rope turns pairs of channels: it needs an even \"key_dim\" "
            "(or \"dim\" up to it), got " +
                std::to_string(rotated));
  f.Require(!rope.by_length(),
            "\"rope.scaling\" by the length of the sequence is not "
            "supported: the state has no tokens to turn again",
            StatusCode::kUnsupported);
  f.Require(dim > 0, "the width of the residual must be positive");
}

Tensor RetentionLogDecay(int first, int heads) {
  Tensor decay = Tensor::Empty({heads});
  for (int h = 0; h < heads; ++h) {
    decay.mutable_data<float>()[h] =
        static_cast<float>(std::log1p(-std::exp2(-5.0 - (first + h))));
  }
  return decay;
}

GatedLinearResult RetentionCore(Context& ctx, const Tensor& q, const Tensor& k,
                                const Tensor& v, const Tensor& state_in,
                                const GatedLinearOptions& options,
                                int first_head) {
  const Tensor decay =
      RetentionLogDecay(first_head, static_cast<int>(v.dim(1)));
  return GatedLinear(ctx, q, k, v, decay, state_in, options);
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
  StateSpec s;
  s.name = "S";
  s.role = StateSpec::Role::kMatrix;
  s.shape = Shape({config_.heads, config_.key_dim, config_.value_dim});
  s.growth = StateSpec::Growth::kSequence;
  s.shard_axis = 0;
  return {s};
}

Tensor Retention::Forward(Context& ctx, const Tensor& x) const {
  const int64_t K = config_.key_dim, V = config_.value_dim;
  const auto heads = [&](const Tensor& y, int64_t channels) {
    return ReshapeView(ctx, y, {y.dim(0), y.dim(1) / channels, channels});
  };
  std::vector<LinearHandles> layers = {{q_}, {k_}, {v_}};
  if (config_.gate) layers.push_back({gate_});
  const std::vector<Tensor> projected = Linears(ctx, x, layers);
  Tensor q = heads(projected[0], K), k = heads(projected[1], K);
  if (config_.rope.enabled) {
    q = Rope(ctx, q, config_.rope);
    k = Rope(ctx, k, config_.rope);
  }
  const Tensor v = heads(projected[2], V);
  // A rank's heads are a slice of all; its first counts for the decay.
  const int count = static_cast<int>(v.dim(1));
  const Tensor decay =
      RetentionLogDecay(TensorParallelRank(ctx) * count, count);
  GatedLinearOptions options;
  options.scale = config_.scale;
  options.chunk = config_.chunk;
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
       .config = R"({"heads": 2, "key_dim": 16, "value_dim": 32, "rope": {},
                     "norm": {"type": "rms", "eps": 1e-6}})",
       .dim = 32},
      {.name = "tensor_cores",  // what tuned kernels take
       .config = R"({"heads": 1, "key_dim": 64, "value_dim": 64, "rope": {},
                     "norm": {"type": "rms", "eps": 1e-6}})",
       .dim = 8},
      {.name = "layer_norm_odd_sizes",
       .config = R"({"heads": 3, "key_dim": 6, "value_dim": 10,
                     "rope": {"interleaved": true, "theta": 500},
                     "norm": {"type": "layer", "eps": 1e-5}, "gate": "gelu",
                     "chunk": 24})",
       .dim = 20},
      {.name = "plain",
       .config = R"({"heads": 2, "key_dim": 9, "value_dim": 7, "rope": false,
                     "norm": {"type": "none"}, "gate": false, "scale": 0.5})",
       .dim = 16},
  };
}

}  // namespace intarsia
