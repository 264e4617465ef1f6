#include "intarsia/model/config.h"

#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"

namespace intarsia {
namespace {

constexpr int kMaxBlocks = 4096;
// Of all blocks' sublayers in memory: "repeat" must not make a small file
// large.
constexpr size_t kMaxBytes = 64 << 20;

// Appends one entry of "blocks", as often as it repeats, and adds to `bytes`
// what that takes.
Status ParseBlock(const Json& json, const std::string& place,
                  std::vector<BlockConfig>* blocks, size_t* bytes) {
  JsonReader reader(json, "model", {.path = place});
  const int repeat = reader.IntOr("repeat", 1, 1, kMaxBlocks);
  const Json* sublayers = reader.List("sublayers");
  RETURN_IF_ERROR(reader.Finish());
  if (repeat > kMaxBlocks - static_cast<int>(blocks->size())) {
    return InvalidArgument("[model] \"" + place + "\": more than " +
                           std::to_string(kMaxBlocks) + " blocks in all");
  }
  BlockConfig block;
  ASSIGN_OR_RETURN(block.sublayers,
                   ParseSublayers(*sublayers, "model", place + ".sublayers"));
  for (const SublayerConfig& sublayer : block.sublayers) {
    *bytes += repeat * (sizeof(sublayer) + sublayer.config.size());
  }
  if (*bytes > kMaxBytes) {
    return InvalidArgument("[model] \"" + place +
                           "\": all blocks take more than " +
                           std::to_string(kMaxBytes) + " bytes");
  }
  blocks->insert(blocks->end(), repeat, block);
  return Status::Ok();
}

Status ReadStreams(JsonReader* reader, std::vector<std::string>* streams) {
  const Json* list = reader->Find("streams");
  if (list == nullptr) return Status::Ok();
  reader->RequireField(list->is_array() && list->size() <= 64, "streams",
                       "a list of up to 64 names");
  RETURN_IF_ERROR(reader->status());
  for (const Json& name : *list) {
    reader->RequireField(name.is_string() && name != "" && name != "embedding",
                         "streams", "names other than \"embedding\"");
    RETURN_IF_ERROR(reader->status());
    streams->push_back(name.get<std::string>());
  }
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const Json& json) {
  JsonReader reader(json, "model");
  const int version = reader.Int("intarsia", 1, 1 << 30);
  reader.Require(version == ModelConfig::kVersion,
                 "\"intarsia\": " + std::to_string(version) +
                     " is not a version this build reads (it reads " +
                     std::to_string(ModelConfig::kVersion) + ")",
                 StatusCode::kUnsupported);
  ModelConfig config;
  const auto scale = [&](const char* name) {
    return static_cast<float>(reader.NumberOr(name, 1.0));
  };
  config.name = reader.StringOr("name", "");
  config.vocab_size = reader.Int("vocab_size", 1, 1 << 24);
  config.dim = reader.Int("dim", 1, 1 << 20);
  config.max_positions = reader.IntOr("max_positions", 0);
  config.embedding_scale = scale("embedding_scale");
  config.learned_positions = reader.BoolOr("learned_positions", false);
  reader.Require(!config.learned_positions || config.max_positions > 0,
                 "\"learned_positions\" needs \"max_positions\"");
  config.tied_head = reader.BoolOr("tied_head", false);
  config.head_bias = reader.BoolOr("head_bias", false);
  config.logit_scale = scale("logit_scale");
  config.logit_softcap =
      static_cast<float>(reader.NumberOr("logit_softcap", 0.0));
  reader.RequireField(config.logit_softcap >= 0, "logit_softcap", "positive");
  config.bos_id = reader.IntOr("bos_id", -1, -1);
  config.eos_ids = reader.Ids("eos_ids");
  if (const Json* norm = reader.Find("final_norm")) {
    config.final_norm =
        reader.Take(ParseNorm(*norm, "model", "final_norm"), NormConfig());
  }
  RETURN_IF_ERROR(ReadStreams(&reader, &config.streams));
  const Json* blocks = reader.List("blocks");
  RETURN_IF_ERROR(reader.Finish());
  size_t bytes = 0;
  for (size_t i = 0; i < blocks->size(); ++i) {
    RETURN_IF_ERROR(ParseBlock((*blocks)[i],
                               "blocks[" + std::to_string(i) + "]",
                               &config.blocks, &bytes));
  }
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
  if (!config.streams.empty()) json["streams"] = config.streams;
  if (config.head_bias) json["head_bias"] = true;
  if (config.logit_softcap > 0) json["logit_softcap"] = config.logit_softcap;
  Json blocks = Json::array();
  for (const BlockConfig& block : config.blocks) {
    Json sublayers = Json::array();
    for (const SublayerConfig& sublayer : block.sublayers) {
      sublayers.push_back(ToJson(sublayer));
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
