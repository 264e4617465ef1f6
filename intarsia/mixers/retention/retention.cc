#include "intarsia/mixers/retention/retention.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/ops/matmul/matmul.h"

namespace intarsia {
namespace {

enum WeightIndex : size_t { kQ, kK, kV, kGate };  // then the norm's and o_proj

GatedLinearOptions OptionsOf(const RetentionConfig& config) {
  GatedLinearOptions options;
  options.scale = config.scale;
  options.chunk = config.chunk;
  return options;
}

}  // namespace

Result<RetentionConfig> ParseRetention(const Json& json, int dim) {
  const std::string room = "retention";
  JsonReader reader(json, room);
  RetentionConfig config;
  config.dim = dim;
  config.heads = reader.Int("heads", 1, 1 << 12);
  config.key_dim = reader.Int("key_dim", 1, 1 << 14);
  config.value_dim = reader.Int("value_dim", 1, 1 << 14);
  config.chunk = reader.IntOr("chunk", 64, 1, 1 << 12);
  if (const Json* rope = reader.Find("rope")) {
    config.rope =
        reader.Take(ParseRope(*rope, config.key_dim, room), RopeConfig());
  }
  if (const Json* norm = reader.Find("norm")) {
    config.norm = reader.Take(ParseNorm(*norm, room), NormConfig());
  }
  config.gate = Activation::kSilu;
  if (const Json* gate = reader.Find("gate")) {
    if (*gate == false) {
      config.gate.reset();
    } else {
      config.gate =
          reader.Take(ParseActivation(reader.StringOr("gate", "silu"), room),
                      Activation::kSilu);
    }
  }
  config.scale = static_cast<float>(
      reader.NumberOr("scale", 1.0 / std::sqrt(double(config.key_dim))));
  const int rotated = config.rope.dim > 0 ? config.rope.dim : config.key_dim;
  reader.Require(
      !config.rope.enabled || (rotated % 2 == 0 && rotated <= config.key_dim),
      "rope turns pairs of channels: it needs an even \"key_dim\" "
      "(or \"dim\" up to it), got " +
          std::to_string(rotated));
  reader.Require(!config.rope.by_length(),
                 "\"rope.scaling\" by the length of the sequence is not "
                 "supported: the state has no tokens to turn again",
                 StatusCode::kUnsupported);
  reader.Require(dim > 0, "the width of the residual must be positive");
  RETURN_IF_ERROR(reader.Finish());
  return config;
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
  const int64_t dim = config.dim, heads = config.heads;
  const int64_t keys = heads * config.key_dim;
  const int64_t values = heads * config.value_dim;
  auto add = [&](const std::string& name, int64_t n, int64_t k,
                 ShardRule shard) {
    WeightSpec spec;
    spec.name = name;
    spec.shape = Shape({n, k});
    spec.shard = shard;
    specs_.push_back(std::move(spec));
  };
  add("q_proj", keys, dim, {0, config.key_dim});
  add("k_proj", keys, dim, {0, config.key_dim});
  add("v_proj", values, dim, {0, config.value_dim});
  if (config.gate) add("g_proj", values, dim, {0, config.value_dim});
  norm_ = specs_.size();
  for (WeightSpec& spec : NormWeights(config.norm, "norm", config.value_dim)) {
    specs_.push_back(std::move(spec));
  }
  norms_ = specs_.size() - norm_;
  add("o_proj", dim, values, {1, config.value_dim});
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

Tensor Retention::LogDecay(const Context& ctx, int heads) const {
  // A rank's heads are a slice of all; its first counts for the decay.
  const int rank =
      ctx.tensor_parallel == nullptr ? 0 : ctx.tensor_parallel->rank();
  return RetentionLogDecay(rank * heads, heads);
}

Tensor Retention::Core(Context& ctx, const Tensor& q, const Tensor& k,
                       const Tensor& v) const {
  const Tensor decay = LogDecay(ctx, static_cast<int>(v.dim(1)));
  const GatedLinearOptions options = OptionsOf(config_);
  if (ctx.state == nullptr) {
    return GatedLinear(ctx, q, k, v, decay, Tensor(), options).out;
  }
  return GatedLinearInPlace(ctx, q, k, v, decay, &ctx.state->sequence(0),
                            options);
}

Tensor Retention::Forward(Context& ctx, const Tensor& x) const {
  const int64_t rows = x.dim(0), K = config_.key_dim, V = config_.value_dim;
  std::vector<LinearWeights> layers = {
      {&ctx.weight(kQ)}, {&ctx.weight(kK)}, {&ctx.weight(kV)}};
  if (config_.gate) layers.push_back({&ctx.weight(kGate)});
  const std::vector<Tensor> projected = Linears(ctx, x, layers);
  auto heads = [&](const Tensor& y, int64_t channels) {
    return ReshapeView(ctx, y, Shape({rows, y.dim(1) / channels, channels}));
  };
  Tensor q = heads(projected[0], K), k = heads(projected[1], K);
  if (config_.rope.enabled) {
    q = Rope(ctx, q, config_.rope);
    k = Rope(ctx, k, config_.rope);
  }
  const Tensor v = heads(projected[2], V);
  Tensor y = Core(ctx, q, k, v);
  if (config_.norm.kind != NormConfig::Kind::kNone) {
    y = ApplyNorm(ctx, config_.norm, y, ctx.weights.subspan(norm_, norms_));
  }
  y = ReshapeView(ctx, y, Shape({rows, v.dim(1) * V}));
  if (config_.gate) {
    y = GatedActivation(ctx, *config_.gate, projected[3], y);
  }
  return Linear(ctx, y, ctx.weight(specs_.size() - 1));
}

Result<std::unique_ptr<Mixer>> CreateRetention(const Json& json, int dim) {
  ASSIGN_OR_RETURN(const RetentionConfig config, ParseRetention(json, dim));
  return std::unique_ptr<Mixer>(std::make_unique<Retention>(config));
}

std::vector<MixerExample> RetentionExamples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("published", 32,
      R"({"heads": 2, "key_dim": 16, "value_dim": 32, "rope": {},
          "norm": {"type": "rms", "eps": 1e-6}})");
  add("layer_norm_odd_sizes", 20,
      R"({"heads": 3, "key_dim": 6, "value_dim": 10,
          "rope": {"interleaved": true, "theta": 500},
          "norm": {"type": "layer", "eps": 1e-5}, "gate": "gelu",
          "chunk": 24})");
  add("plain", 16,
      R"({"heads": 2, "key_dim": 9, "value_dim": 7, "rope": false,
          "norm": {"type": "none"}, "gate": false, "scale": 0.5})");
  return examples;
}

}  // namespace intarsia
