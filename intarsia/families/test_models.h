// Small models for the tests: a configuration of a family, and random weights
// for it under the names that the family's checkpoints have.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/write.h"
#include "intarsia/core/random.h"
#include "intarsia/families/family.h"
#include "intarsia/families/load.h"

namespace intarsia {

inline nlohmann::json SmallConfig(const std::string& type, int64_t width = 64) {
  if (type == "gpt2") {
    return {{"model_type", type},
            {"architectures", {"X"}},
            {"n_embd", width},
            {"n_inner", nullptr},
            {"n_layer", 2},
            {"n_head", 4},
            {"n_positions", 128},
            {"layer_norm_epsilon", 1e-5},
            {"vocab_size", 50},
            {"activation_function", "gelu_new"},
            {"torch_dtype", "bfloat16"}};
  }
  nlohmann::json config = {
      {"model_type", type},       {"architectures", {"X"}},
      {"hidden_size", width},     {"intermediate_size", 96},
      {"num_hidden_layers", 2},   {"num_attention_heads", 4},
      {"num_key_value_heads", 2}, {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0},    {"max_position_embeddings", 128},
      {"vocab_size", 50},         {"tie_word_embeddings", type != "llama"},
      {"torch_dtype", "bfloat16"}};
  if (type == "qwen3") config["head_dim"] = 32;
  if (type == "mixtral") {
    config["num_local_experts"] = 4;
    config["num_experts_per_tok"] = 2;
    config["sliding_window"] = nullptr;
    config["tie_word_embeddings"] = false;
  }
  return config;
}

struct RandomTensors {
  std::vector<NamedTensor> tensors;      // foreign, fp32
  std::map<std::string, Tensor> native;  // what a model of them holds
};

inline RandomTensors RandomModel(const nlohmann::json& config) {
  const FamilyModel family =
      *FindFamily(config["model_type"])->from_config(config);
  const auto model = *Model::Create(family.config);
  RandomTensors out;
  Random random(1);
  const auto values = [&](const std::string& path) {
    const auto [at, added] = out.native.try_emplace(path);
    if (added) {
      at->second = Tensor::Empty(model->Find(path)->shape());
      for (int64_t i = 0; i < at->second.numel(); ++i) {
        at->second.mutable_data<float>()[i] = 0.1f * random.NextNormal();
      }
    }
    return at->second;
  };
  for (auto& [name, tensor] : ToForeign(family.tensors, *model, values)) {
    out.tensors.push_back({.name = name, .tensor = tensor});
  }
  return out;
}

}  // namespace intarsia
