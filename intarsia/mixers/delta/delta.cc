#include "intarsia/mixers/delta/delta.h"

#include <cmath>

#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/ops/conv1d/conv1d.h"

namespace intarsia {
namespace {

using By = DeltaConfig::By;

enum StateIndex : size_t { kConvQ, kConvK, kConvV };

constexpr ChoiceName kBy[] = {
    {"head", By::kHead}, {"channel", By::kChannel}, {"none", By::kNone}};

}  // namespace

void DeltaConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 14});
  f.IntOr("key_heads", &key_heads, {1, 1 << 14}, heads, "heads");
  f.Int("key_dim", &key_dim, {1, 1 << 12});
  f.Int("value_dim", &value_dim, {1, 1 << 12});
  f.IntOr("conv_width", &conv_width, {0, 64});
  f.BoolOr("conv_bias", &conv_bias);
  f.ChoiceOr("conv_activation", &conv_activation, ActivationNames());
  f.ChoiceOr("decay", &decay, kBy);
  f.IntOr("decay_rank", &decay_rank, {0, 1 << 16});
  f.NumberOr("decay_floor", &decay_floor);
  f.ChoiceOr("erase", &erase, ChoiceNames(kBy).first(2));
  f.NumberOr("beta_scale", &beta_scale);
  f.Object("norm", &norm);
  f.ChoiceOrOff("gate", &gate, ActivationNames());
  f.IntOr("gate_rank", &gate_rank, {0, 1 << 16});
  f.BoolOr("gate_bias", &gate_bias);
  f.NumberOr("qk_eps", &qk_eps);
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.Require(heads % key_heads == 0,
            "\"heads\" must be a multiple of \"key_heads\", got " +
                std::to_string(heads) + " and " + std::to_string(key_heads));
  f.Require(conv_width != 1, "\"conv_width\" must be 0 or at least 2");
  f.Require(conv_width > 0 || !conv_bias, "\"conv_bias\" without convolutions");
  f.Require(decay_floor <= 0, "\"decay_floor\" must be negative");
  f.Require(decay != By::kNone || (decay_rank == 0 && decay_floor == 0),
            "\"decay_rank\" and \"decay_floor\" are of decays: \"decay\" is "
            "none");
  f.Require(beta_scale > 0, "\"beta_scale\" must be positive");
  f.Require(gate || (gate_rank == 0 && !gate_bias),
            "\"gate_rank\" and \"gate_bias\" without a gate");
  f.Require(qk_eps >= 0, "\"qk_eps\" must not be negative");
}

// Heads are what tensor parallelism cuts, keys go with theirs. Low ranks are on
// every rank of the group.
Delta::Delta(const DeltaConfig& config) : config_(config) {
  using Kind = WeightInit::Kind;
  const int64_t dim = config.dim, H = config.heads, K = config.key_dim;
  const int64_t V = config.value_dim, width = config.conv_width;
  const int64_t keys = config.key_heads * K, values = H * V;
  q_ = book_.Matrix("q_proj", {keys, dim}, Rows(K));
  k_ = book_.Matrix("k_proj", {keys, dim}, Rows(K));
  v_ = book_.Matrix("v_proj", {values, dim}, Rows(V));
  if (width > 0) {
    const float bound = 1.0f / std::sqrt(static_cast<float>(width));
    const WeightInit uniform = {Kind::kUniform, -bound, bound};
    conv_q_.w = book_.Vector("conv_q", {keys, width}, uniform, Rows(K));
    conv_k_.w = book_.Vector("conv_k", {keys, width}, uniform, Rows(K));
    conv_v_.w = book_.Vector("conv_v", {values, width}, uniform, Rows(V));
    for (LinearHandles* conv : {&conv_q_, &conv_k_, &conv_v_}) {
      conv->bias = book_.Bias(conv->w, config.conv_bias);
    }
  }
  if (config.erase == By::kHead) {
    beta_ = book_.Matrix("beta_proj", {H, dim}, Rows());
  } else {
    beta_ = book_.Matrix("erase_proj", {H * K, dim}, Rows(K));
    write_ = book_.Matrix("write_proj", {values, dim}, Rows(V));
  }
  if (config.decay != By::kNone) {
    const int64_t channels = config.decay == By::kChannel ? K : 1;
    if (config.decay_rank > 0) {
      const int64_t rank = config.decay_rank;
      decay_ = book_.Matrix("decay_a", {rank, dim});
      decay_b_ = book_.Matrix("decay_b", {H * channels, rank}, Rows(channels));
    } else {
      decay_ = book_.Matrix("decay_proj", {H * channels, dim}, Rows(channels));
    }
    dt_bias_ =
        book_.Vector("dt_bias", {H * channels},
                     {Kind::kInverseSoftplus, 1e-3f, 1e-1f}, Rows(channels));
    a_log_ =
        book_.Vector("A_log", {H}, {Kind::kLogUniform, 1.0f, 16.0f}, Rows());
  }
  if (config.gate) {
    if (config.gate_rank > 0) {
      gate_ = book_.Matrix("gate_a", {config.gate_rank, dim});
      gate_b_ = book_.Matrix("gate_b", {values, config.gate_rank}, Rows(V));
    } else {
      gate_ = book_.Matrix("gate_proj", {values, dim}, Rows(V));
    }
    if (config.gate_bias) {
      gate_bias_ = book_.Vector("gate_bias", {values}, Constant(0), Rows(V));
    }
  }
  norm_ = book_.Norm("norm", config.norm, V);
  out_ = book_.Matrix("o_proj", {dim, values}, Columns(V));
}

std::vector<StateSpec> Delta::state() const {
  const auto spec = [](const char* name, StateSpec::Role role,
                       const Shape& shape) {
    StateSpec s;
    s.name = name;
    s.role = role;
    s.shape = shape;
    s.growth = StateSpec::Growth::kSequence;
    s.shard_axis = 0;
    return s;
  };
  const StateSpec::Role conv = StateSpec::Role::kConv;
  const int64_t past = config_.conv_width - 1;
  const int64_t keys = int64_t{config_.key_heads} * config_.key_dim;
  const int64_t values = int64_t{config_.heads} * config_.value_dim;
  std::vector<StateSpec> specs;
  if (config_.conv_width > 0) {
    specs = {spec("conv_q", conv, Shape({keys, past})),
             spec("conv_k", conv, Shape({keys, past})),
             spec("conv_v", conv, Shape({values, past}))};
  }
  specs.push_back(
      spec("S", StateSpec::Role::kMatrix,
           Shape({config_.heads, config_.key_dim, config_.value_dim})));
  return specs;
}

Tensor Delta::Convolve(Context& ctx, const Tensor& x, LinearHandles conv,
                       size_t state) const {
  if (config_.conv_width == 0) {
    return Activate(ctx, config_.conv_activation, x);
  }
  return CausalConv1d(ctx, x, ctx.weight(conv.w), Find(ctx, conv.bias),
                      config_.conv_activation,
                      ctx.state ? ctx.state->sequence(state) : Tensor());
}

DeltaRuleResult DeltaCore(Context& ctx, const Tensor& q, const Tensor& k,
                          const Tensor& v, const DeltaGates& gates,
                          const Tensor& state_in,
                          const DeltaRuleOptions& options, Tensor* pool) {
  const DeltaRuleInputs inputs = {
      .q = q,
      .k = k,
      .v = GateHeads(ctx, v, gates.write.defined() ? gates.write : gates.beta),
      .erase = GateHeads(ctx, k, gates.beta),
      .removal = Tensor(),
      .log_decay = gates.log_decay};
  if (pool == nullptr) return DeltaRule(ctx, inputs, state_in, options);
  CHECK(!state_in.defined());
  return {.out = DeltaRuleInPlace(ctx, inputs, pool, options),
          .state = Tensor()};
}

Tensor Delta::Forward(Context& ctx, const Tensor& x) const {
  const int64_t K = config_.key_dim, V = config_.value_dim, rows = x.dim(0);
  const auto heads = [&](const Tensor& y, int64_t channels) {
    return ReshapeView(ctx, y, {rows, y.dim(1) / channels, channels});
  };
  std::vector<LinearHandles> layers = {{q_}, {k_}, {v_}, {beta_}};
  const bool by_channel = config_.erase == By::kChannel;
  if (by_channel) layers.push_back({write_});
  const bool fades = config_.decay != By::kNone;
  if (fades) layers.push_back({decay_});
  const bool low_gate = gate_b_.exists();
  if (config_.gate) {
    layers.push_back({gate_, low_gate ? WeightHandle() : gate_bias_});
  }
  const std::vector<Tensor> in = Linears(ctx, x, layers);
  size_t next = 3;
  DeltaGates gates;
  gates.beta = Activate(ctx, Activation::kSigmoid, in[next++]);
  if (config_.beta_scale != 1.0f) {
    gates.beta = Scale(ctx, gates.beta, config_.beta_scale);
  }
  if (by_channel) {
    gates.beta = heads(gates.beta, K);
    gates.write = heads(Activate(ctx, Activation::kSigmoid, in[next++]), V);
  }
  if (fades) {
    Tensor raw = in[next++];
    if (decay_b_.exists()) raw = Linear(ctx, raw, decay_b_);
    gates.log_decay = LogDecays(ctx, raw, ctx.weight(dt_bias_),
                                ctx.weight(a_log_), config_.decay_floor);
    if (config_.decay == By::kChannel) {
      gates.log_decay = heads(gates.log_decay, K);
    }
  }
  // x / √(Σ x² + eps) is the RMS norm over √K; queries are scaled by 1/√K.
  const float root = 1.0f / std::sqrt(static_cast<float>(K));
  const auto unit = [&](const Tensor& y) {
    return RmsNorm(ctx, heads(y, K), nullptr,
                   config_.qk_eps / static_cast<float>(K));
  };
  const Tensor q = unit(Convolve(ctx, in[0], conv_q_, kConvQ));
  const Tensor k =
      Scale(ctx, unit(Convolve(ctx, in[1], conv_k_, kConvK)), root);
  const Tensor v = heads(Convolve(ctx, in[2], conv_v_, kConvV), V);
  DeltaRuleOptions options;
  options.scale = 1.0f / static_cast<float>(K);
  options.chunk = config_.chunk;
  Tensor* pool = ctx.state == nullptr
                     ? nullptr
                     : &ctx.state->sequence(config_.conv_width > 0 ? 3 : 0);
  Tensor y = DeltaCore(ctx, q, k, v, gates, Tensor(), options, pool).out;
  y = ReshapeView(ctx, ApplyNorm(ctx, norm_, y), in[2].shape());
  if (config_.gate) {
    Tensor gate = in.back();
    if (low_gate) gate = Linear(ctx, gate, gate_b_, gate_bias_);
    y = GatedActivation(ctx, *config_.gate, gate, y);
  }
  return OutLinear(ctx, y, out_);
}

Result<std::unique_ptr<Mixer>> CreateDelta(const Json& json, int dim) {
  return MakeMixer<Delta, DeltaConfig>(json, "delta", dim);
}

void DeltaFields(Fields& f, int dim) { VisitFresh<DeltaConfig>(f, dim); }

std::vector<MixerExample> DeltaExamples() {
  std::vector<MixerExample> examples;
  auto add = [&](const char* name, int dim, const char* config) {
    MixerExample example;
    example.name = name;
    example.dim = dim;
    example.config = config;
    examples.push_back(std::move(example));
  };
  add("gated_delta", 24,
      R"({"heads": 4, "key_heads": 2, "key_dim": 16, "value_dim": 16})");
  add("kda", 20,
      R"({"heads": 2, "key_dim": 12, "value_dim": 20, "decay": "channel",
          "decay_rank": 6, "gate": "sigmoid", "gate_rank": 5,
          "gate_bias": true, "norm": {"type": "rms", "eps": 1e-5}})");
  add("safe_kda", 16,
      R"({"heads": 2, "key_dim": 18, "value_dim": 9, "decay": "channel",
          "decay_floor": -5, "gate": "sigmoid", "conv_width": 3,
          "conv_bias": true, "chunk": 24})");
  add("gdn2", 16,
      R"({"heads": 4, "key_heads": 4, "key_dim": 8, "value_dim": 6,
          "decay": "channel", "erase": "channel", "beta_scale": 2,
          "qk_eps": 1e-5})");
  add("delta_net", 16,
      R"({"heads": 2, "key_dim": 10, "value_dim": 8, "decay": "none",
          "conv_width": 0, "conv_activation": "gelu", "gate": false})");
  return examples;
}

}  // namespace intarsia
