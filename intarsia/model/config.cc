#include "intarsia/model/config.h"

#include <nlohmann/json.hpp>
#include <set>

namespace intarsia {
namespace {

constexpr int kMaxBlocks = 4096;

Status Bad(const std::string& what) {
  return InvalidArgument("[model] " + what);
}

// Reads an optional field; a present one must have the right type.
template <typename T>
Status Read(const Json& json, const char* key, T* out) {
  auto it = json.find(key);
  if (it == json.end() || it->is_null()) return Status::Ok();
  bool fits;
  if constexpr (std::is_same_v<T, bool>) {
    fits = it->is_boolean();
  } else if constexpr (std::is_same_v<T, std::string>) {
    fits = it->is_string();
  } else if constexpr (std::is_integral_v<T>) {
    fits = it->is_number_integer() &&
           it->template get<int64_t>() >= INT32_MIN &&
           it->template get<int64_t>() <= INT32_MAX;
  } else {
    fits = it->is_number();
  }
  if (!fits) return Bad(std::string("field \"") + key + "\" has a wrong type");
  *out = it->template get<T>();
  return Status::Ok();
}

Result<SublayerConfig> ParseSublayer(const Json& json,
                                     const std::string& where) {
  if (!json.is_object()) return Bad(where + " must be an object");
  SublayerConfig sublayer;
  RETURN_IF_ERROR(Read(json, "mixer", &sublayer.mixer));
  if (sublayer.mixer.empty()) {
    return Bad(where +
               ": \"mixer\" must name a primitive (see `intarsia list`)");
  }
  RETURN_IF_ERROR(Read(json, "residual_scale", &sublayer.residual_scale));
  if (json.contains("norm")) {
    ASSIGN_OR_RETURN(sublayer.norm, ParseNorm(json["norm"], "model"));
  }
  const Json config = json.value("config", Json::object());
  if (!config.is_object()) return Bad(where + ": \"config\" must be an object");
  sublayer.config = config.dump();
  return sublayer;
}

Json NormJson(const NormConfig& norm) {
  static constexpr const char* kNames[] = {"none", "rms", "layer"};
  return {{"type", kNames[static_cast<int>(norm.kind)]},
          {"eps", norm.eps},
          {"affine", norm.affine},
          {"unit_offset", norm.unit_offset}};
}

Status ParseBlocks(const Json& json, std::vector<BlockConfig>* blocks) {
  if (!json.contains("blocks") || !json["blocks"].is_array() ||
      json["blocks"].empty()) {
    return Bad("\"blocks\" must be a list with at least one block");
  }
  for (const Json& entry : json["blocks"]) {
    const std::string where = "block " + std::to_string(blocks->size());
    if (!entry.is_object() || !entry.contains("sublayers") ||
        !entry["sublayers"].is_array() || entry["sublayers"].empty()) {
      return Bad(where + " needs a list \"sublayers\"");
    }
    BlockConfig block;
    for (const Json& sublayer : entry["sublayers"]) {
      ASSIGN_OR_RETURN(SublayerConfig parsed, ParseSublayer(sublayer, where));
      block.sublayers.push_back(std::move(parsed));
    }
    int repeat = 1;
    RETURN_IF_ERROR(Read(entry, "repeat", &repeat));
    if (repeat < 1 || repeat > kMaxBlocks - static_cast<int>(blocks->size())) {
      return Bad(where + ": \"repeat\" must be from 1 to " +
                 std::to_string(kMaxBlocks) + " blocks in all");
    }
    blocks->insert(blocks->end(), repeat, block);
  }
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const Json& json) {
  if (!json.is_object()) return Bad("the configuration must be a JSON object");
  static const std::set<std::string> kKnown = {
      "intarsia",      "name",        "vocab_size",        "dim",
      "max_positions", "blocks",      "final_norm",        "embedding_scale",
      "tied_head",     "logit_scale", "learned_positions", "bos_id",
      "eos_ids"};
  for (const auto& [key, value] : json.items()) {
    if (!kKnown.contains(key)) return Bad("unknown field \"" + key + "\"");
  }
  int version = 0;
  RETURN_IF_ERROR(Read(json, "intarsia", &version));
  if (version != ModelConfig::kVersion) {
    return Unsupported("[model] \"intarsia\": " + std::to_string(version) +
                       " is not a version this build reads (it reads 1)");
  }
  ModelConfig config;
  RETURN_IF_ERROR(Read(json, "name", &config.name));
  RETURN_IF_ERROR(Read(json, "vocab_size", &config.vocab_size));
  RETURN_IF_ERROR(Read(json, "dim", &config.dim));
  RETURN_IF_ERROR(Read(json, "max_positions", &config.max_positions));
  RETURN_IF_ERROR(Read(json, "embedding_scale", &config.embedding_scale));
  RETURN_IF_ERROR(Read(json, "learned_positions", &config.learned_positions));
  RETURN_IF_ERROR(Read(json, "tied_head", &config.tied_head));
  RETURN_IF_ERROR(Read(json, "logit_scale", &config.logit_scale));
  RETURN_IF_ERROR(Read(json, "bos_id", &config.bos_id));
  if (config.vocab_size < 1 || config.vocab_size > (1 << 24)) {
    return Bad("\"vocab_size\" must be from 1 to 2^24");
  }
  if (config.dim < 1 || config.dim > (1 << 20)) {
    return Bad("\"dim\" must be from 1 to 2^20");
  }
  if (config.max_positions < 0) return Bad("\"max_positions\" is negative");
  if (config.learned_positions && config.max_positions == 0) {
    return Bad("\"learned_positions\" needs \"max_positions\"");
  }
  if (json.contains("final_norm")) {
    ASSIGN_OR_RETURN(config.final_norm, ParseNorm(json["final_norm"], "model"));
  }
  if (json.contains("eos_ids")) {
    if (!json["eos_ids"].is_array()) return Bad("\"eos_ids\" must be a list");
    for (const Json& id : json["eos_ids"]) {
      if (!id.is_number_integer()) return Bad("\"eos_ids\" must be integers");
      config.eos_ids.push_back(id.get<int>());
    }
  }
  RETURN_IF_ERROR(ParseBlocks(json, &config.blocks));
  return config;
}

Json ToJson(const ModelConfig& config) {
  Json json = {{"intarsia", ModelConfig::kVersion},
               {"name", config.name},
               {"vocab_size", config.vocab_size},
               {"dim", config.dim},
               {"max_positions", config.max_positions},
               {"embedding_scale", config.embedding_scale},
               {"learned_positions", config.learned_positions},
               {"final_norm", NormJson(config.final_norm)},
               {"tied_head", config.tied_head},
               {"logit_scale", config.logit_scale},
               {"bos_id", config.bos_id},
               {"eos_ids", config.eos_ids}};
  Json blocks = Json::array();
  for (const BlockConfig& block : config.blocks) {
    Json sublayers = Json::array();
    for (const SublayerConfig& sublayer : block.sublayers) {
      sublayers.push_back({{"mixer", sublayer.mixer},
                           {"config", Json::parse(sublayer.config)},
                           {"norm", NormJson(sublayer.norm)},
                           {"residual_scale", sublayer.residual_scale}});
    }
    if (!blocks.empty() && blocks.back()["sublayers"] == sublayers) {
      blocks.back()["repeat"] = blocks.back().value("repeat", 1) + 1;
    } else {
      blocks.push_back({{"sublayers", std::move(sublayers)}});
    }
  }
  json["blocks"] = std::move(blocks);
  return json;
}

}  // namespace intarsia
