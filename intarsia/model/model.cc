#include "intarsia/model/model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/channel_mixers/registry.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/mixers/registry.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/embedding/embedding.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

const MixerEntry* FindAnyMixer(const std::string& name) {
  const MixerEntry* entry = FindMixer(name);
  return entry != nullptr ? entry : FindChannelMixer(name);
}

// The stored shape of a matrix in `format`: block formats count bytes.
Shape StoredShape(const WeightSpec& spec, const Format& format) {
  if (format.storage() != DType::kU8) return spec.shape;
  const int last = spec.shape.rank() - 1;
  return spec.shape.With(
      last, static_cast<int64_t>(format.row_bytes(spec.shape[last])));
}

uint64_t HashPath(const std::string& path) {  // FNV-1a
  uint64_t hash = 0xCBF29CE484222325u;
  for (unsigned char c : path) hash = (hash ^ c) * 0x100000001B3u;
  return hash;
}

float InitialValue(const WeightInit& init, Random* random) {
  using Kind = WeightInit::Kind;
  const auto uniform = [&] {
    return init.a + (init.b - init.a) * random->NextUniform();
  };
  switch (init.kind) {
    case Kind::kNormal:
      return init.a * random->NextNormal();
    case Kind::kUniform:
      return uniform();
    case Kind::kConstant:
      return init.a;
    case Kind::kLogUniform:
      return std::log(uniform());
    case Kind::kInverseSoftplus: {
      const float low = std::log(init.a), high = std::log(init.b);
      const float x = std::exp(low + (high - low) * random->NextUniform());
      return x + std::log(-std::expm1(-x));
    }
  }
  return 0.0f;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::Create(ModelConfig config) {
  std::unique_ptr<Model> model(new Model());
  model->config_ = std::move(config);
  RETURN_IF_ERROR(model->Build());
  return model;
}

const Weight* Model::Declare(const std::string& path, WeightSpec spec) {
  auto weight = std::make_unique<Weight>(std::move(spec), nullptr, Tensor());
  const Weight* handle = weight.get();
  CHECK(weights_.emplace(path, std::move(weight)).second) << path;
  paths_.push_back(path);
  return handle;
}

Status Model::Build() {
  using Role = WeightSpec::Role;
  const int64_t dim = config_.dim;
  embedding_ = Declare("embedding", {.name = "embedding",
                                     .shape = {config_.vocab_size, dim},
                                     .role = Role::kTable});
  if (config_.learned_positions) {
    positions_ = Declare("positions", {.name = "positions",
                                       .shape = {config_.max_positions, dim},
                                       .role = Role::kTable});
  }
  auto declare_norm = [&](const NormConfig& norm, const std::string& prefix,
                          const std::string& name) {
    std::vector<const Weight*> handles;
    for (WeightSpec& spec : NormWeights(norm, name, dim)) {
      handles.push_back(Declare(prefix + spec.name, spec));
    }
    return handles;
  };
  for (size_t i = 0; i < config_.blocks.size(); ++i) {
    std::vector<Sublayer>& layer = layers_.emplace_back();
    const std::vector<SublayerConfig>& sublayers = config_.blocks[i].sublayers;
    for (size_t j = 0; j < sublayers.size(); ++j) {
      const SublayerConfig& config = sublayers[j];
      Sublayer sublayer;
      sublayer.name = "blocks." + std::to_string(i) + "." + std::to_string(j);
      const MixerEntry* entry = FindAnyMixer(config.mixer);
      if (entry == nullptr) {
        return NotFound("[model] " + sublayer.name + ": no primitive \"" +
                        config.mixer +
                        "\"; `intarsia list` shows those of "
                        "this build");
      }
      auto mixer = entry->create(Json::parse(config.config), config_.dim);
      if (!mixer.ok()) {
        return Status(mixer.status().code(),
                      mixer.status().message() + " (" + sublayer.name + ")");
      }
      sublayer.mixer = std::move(mixer).value();
      sublayer.config = &config;
      sublayer.pre_norm =
          declare_norm(config.pre_norm, sublayer.name + ".", "pre_norm");
      for (WeightSpec& spec : sublayer.mixer->weights()) {
        const std::string path = sublayer.name + "." + spec.name;
        sublayer.weights.push_back(Declare(path, std::move(spec)));
      }
      sublayer.post_norm =
          declare_norm(config.post_norm, sublayer.name + ".", "post_norm");
      state_.push_back({sublayer.name, sublayer.mixer->state()});
      reads_back_ |= sublayer.mixer->reads_back();
      const int64_t end = sublayer.mixer->state_ends();
      if (end > 0 && std::ranges::count(state_ends_, end) == 0) {
        state_ends_.push_back(end);
      }
      layer.push_back(std::move(sublayer));
    }
  }
  final_norm_ = declare_norm(config_.final_norm, "", "final_norm");
  head_ = config_.tied_head
              ? embedding_
              : Declare("head",
                        {.name = "head", .shape = {config_.vocab_size, dim}});
  if (config_.head_bias) {
    head_bias_ =
        Declare("head_bias", {.name = "head_bias",
                              .shape = {config_.vocab_size},
                              .role = Role::kVector,
                              .init = {WeightInit::Kind::kConstant, 0.0f},
                              .decay = false});
  }
  return Status::Ok();
}

const Weight* Model::Find(const std::string& path) const {
  auto it = weights_.find(path);
  return it == weights_.end() ? nullptr : it->second.get();
}

Weight* Model::Find(const std::string& path) {
  return const_cast<Weight*>(std::as_const(*this).Find(path));
}

Status Model::SetWeight(const std::string& path, const Format& format,
                        Tensor values) {
  Weight* weight = Find(path);
  if (weight == nullptr) {
    return NotFound("[model] there is no weight \"" + path + "\"");
  }
  const WeightSpec& spec = weight->spec();
  if (spec.role == WeightSpec::Role::kVector &&
      format.storage() != DType::kF32) {
    return InvalidArgument("[model] " + path + " must be f32");
  }
  if (spec.shape[spec.shape.rank() - 1] % format.block() != 0) {
    return InvalidArgument("[model] " + path + " " + spec.shape.ToString() +
                           " does not divide into blocks of " +
                           std::string(format.name()));
  }
  const Shape expected = StoredShape(spec, format);
  if (!(values.shape() == expected) || values.dtype() != format.storage()) {
    return InvalidArgument(
        "[model] " + path + " has shape " + values.shape().ToString() + " of " +
        std::string(Name(values.dtype())) + ", expected " +
        expected.ToString() + " of " + std::string(Name(format.storage())));
  }
  weight->set_values(&format, std::move(values));
  return Status::Ok();
}

Status Model::CheckComplete() const {
  std::string missing;
  int count = 0;
  for (const std::string& path : paths_) {
    if (Find(path)->defined()) continue;
    if (++count <= 5) missing += (count > 1 ? ", " : "") + path;
  }
  if (count == 0) return Status::Ok();
  if (count > 5) missing += " and " + std::to_string(count - 5) + " more";
  return DataLoss("[model] the checkpoint lacks " + missing);
}

void Model::InitWeights(uint64_t seed) {
  for (const std::string& path : paths_) {
    Weight* weight = Find(path);
    Random random = Random(seed).Fork(HashPath(path));
    Tensor values = Tensor::Empty(weight->shape());
    float* data = values.mutable_data<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      data[i] = InitialValue(weight->spec().init, &random);
    }
    weight->set_values(&PlainFormat(DType::kF32), std::move(values));
  }
}

void Model::SetTrainable(bool trainable) {
  for (const std::string& path : paths_) Find(path)->trainable = trainable;
}

void Model::MoveTo(Device device) {
  if (device.is_cuda()) {
    for (const BlockConfig& block : config_.blocks) {
      for (const SublayerConfig& sublayer : block.sublayers) {
        if (FindAnyMixer(sublayer.mixer)->cuda) continue;
        throw EngineError("[model] " + sublayer.mixer +
                          " has no CUDA kernels in this build; run this model "
                          "with --device cpu");
      }
    }
  }
  for (const std::string& path : paths_) {
    Weight* weight = Find(path);
    if (!weight->defined()) continue;
    weight->set_values(&weight->format(), weight->values().To(device));
  }
  if (device.is_cuda()) Backend(device).Synchronize();
}

Tensor Model::Embed(Context& ctx) const {
  CHECK(ctx.batch != nullptr);
  Tensor x = Embedding(ctx, *embedding_, ctx.batch->tokens);
  if (config_.embedding_scale != 1.0f) {
    x = Scale(ctx, x, config_.embedding_scale);
  }
  if (positions_ != nullptr) {
    x = Add(ctx, x, Embedding(ctx, *positions_, ctx.batch->positions));
  }
  return x;
}

void Model::RunSublayer(Context& ctx, const Sublayer& sublayer, Flow* flow,
                        StateView* state) const {
  const SublayerConfig& config = *sublayer.config;
  const auto norm = [&](const NormConfig& kind, const Tensor& x,
                        const std::vector<const Weight*>& weights) {
    Context inner = ctx;
    inner.weights = weights;
    return ApplyNorm(inner, kind, x, weights);
  };
  if (config.input != SublayerInput::kPrevious) {
    flow->previous =
        norm(config.pre_norm,
             config.input == SublayerInput::kBlock ? flow->block : flow->x,
             sublayer.pre_norm);
  }
  Context inner = ctx;
  inner.weights = sublayer.weights;
  inner.state = state;
  Tensor h = EnterTensorParallel(ctx, flow->previous);
  // A mixer that computes in fp32 alone does so among others in bf16.
  const DType dtype = h.dtype();
  if (!sublayer.mixer->bf16()) h = Cast(ctx, h, DType::kF32);
  h = Cast(ctx, sublayer.mixer->Forward(inner, h), dtype);
  h = LeaveTensorParallel(ctx, h);
  h = norm(config.post_norm, h, sublayer.post_norm);
  if (config.residual_scale != 1.0f) h = Scale(ctx, h, config.residual_scale);
  flow->x = Add(ctx, flow->x, h);
}

Tensor Model::Blocks(Context& ctx, Tensor x, int begin, int end,
                     ModelState* state) const {
  CHECK(begin >= 0 && begin <= end && end <= blocks());
  size_t flat = 0;
  for (int i = 0; i < begin; ++i) flat += layers_[i].size();
  for (int i = begin; i < end; ++i) {
    if (ctx.observer != nullptr) {
      ctx.observer->Observe("blocks." + std::to_string(i) + ".input", x);
    }
    Flow flow{.x = x, .block = x, .previous = {}};
    for (const Sublayer& sublayer : layers_[i]) {
      RunSublayer(ctx, sublayer, &flow,
                  state ? &state->sublayers.at(flat) : nullptr);
      ++flat;
    }
    x = flow.x;
  }
  return x;
}

Tensor Model::Head(Context& ctx, const Tensor& x) const {
  if (ctx.observer != nullptr) ctx.observer->Observe("blocks.output", x);
  const Tensor h = ApplyNorm(ctx, config_.final_norm, x, final_norm_);
  if (ctx.observer != nullptr) ctx.observer->Observe("final_norm", h);
  Tensor logits = Linear(ctx, Cast(ctx, h, DType::kF32), *head_, head_bias_);
  if (config_.logit_scale != 1.0f) {
    logits = Scale(ctx, logits, config_.logit_scale);
  }
  if (config_.logit_softcap > 0) {
    logits = SoftCap(ctx, logits, config_.logit_softcap);
  }
  return logits;
}

Tensor Model::Forward(Context& ctx, ModelState* state,
                      std::span<const int32_t> rows) const {
  CHECK(ctx.dtype == DType::kF32 || ctx.device.is_cuda())
      << "activations in " << Name(ctx.dtype) << " on the CPU";
  Streams streams;
  Context inner = ctx;
  if (inner.streams == nullptr) inner.streams = &streams;
  Tensor x = Blocks(inner, Embed(inner), 0, blocks(), state);
  if (!rows.empty()) x = GatherRows(inner, x, rows);
  return Head(inner, x);
}

}  // namespace intarsia
