// Rotary positions in GGUF's files and in config.json, joined through the
// "rope" object of our attention layers.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/families/family.h"

namespace intarsia {

// What llama.cpp's converter writes for a model.
struct GgufRope {
  nlohmann::json fields = nlohmann::json::object();  // "rope.freq_base", ...
  // rope_freqs.weight, rope_factors_long.weight: a divisor a pair of channels.
  std::vector<std::pair<std::string, std::vector<float>>> tensors;
};

// Empty for a model without attention that turns channels. Any fixed angles
// have a place, at worst as divisors of the plain ones; refused are angles that
// differ among layers or change with every length.
Result<GgufRope> RopeToGguf(const ModelConfig& model);

// "rope_theta" and "rope_scaling" of a Llama-shaped config.json. Divisors are
// Llama 3.1's scaling where they are its to the last bit, else longrope with
// the same factors for every length.
Result<nlohmann::json> RopeToConfig(const ModelConfig& model);

}  // namespace intarsia
