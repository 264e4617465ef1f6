#include "intarsia/model/config.h"

#include <nlohmann/json.hpp>

#include "intarsia/core/json_fields.h"

namespace intarsia {
namespace {

constexpr int kMaxBlocks = 4096;
// Of all blocks' sublayers in memory: "repeat" must not make a small file
// large.
constexpr size_t kMaxBytes = 64 << 20;

// Blocks as the file has them: equal ones in a row are one entry.
struct BlockEntry {
  int repeat = 1;
  BlockConfig block;

  void Visit(Fields& f) {
    f.IntOr("repeat", &repeat, {1, kMaxBlocks});
    VisitSublayers(f, &block.sublayers);
  }
};

struct ModelFile {
  std::string schema;  // where editors find what `intarsia list --schema` says
  int version = ModelConfig::kVersion;
  ModelConfig config;
  std::vector<BlockEntry> blocks;

  void Visit(Fields& f) {
    f.StringOr("$schema", &schema);
    f.Int("intarsia", &version, {1, 1 << 30});
    f.Require(version == ModelConfig::kVersion,
              "\"intarsia\": " + std::to_string(version) +
                  " is not a version this build reads (it reads " +
                  std::to_string(ModelConfig::kVersion) + ")",
              StatusCode::kUnsupported);
    config.Visit(f);
    f.List("blocks", &blocks, {1, kMaxBlocks});
  }
};

Status Expand(std::vector<BlockEntry> entries,
              std::vector<BlockConfig>* blocks) {
  size_t bytes = 0, count = 0;
  for (const BlockEntry& entry : entries) {
    count += static_cast<size_t>(entry.repeat);
    for (const SublayerConfig& sublayer : entry.block.sublayers) {
      bytes += entry.repeat * (sizeof(sublayer) + sublayer.config.size());
    }
  }
  if (count > kMaxBlocks) {
    return InvalidArgument("[model] \"blocks\": more than " +
                           std::to_string(kMaxBlocks) + " blocks in all");
  }
  if (bytes > kMaxBytes) {
    return InvalidArgument("[model] \"blocks\": all blocks take more than " +
                           std::to_string(kMaxBytes) + " bytes");
  }
  blocks->reserve(count);
  for (BlockEntry& entry : entries) {
    blocks->insert(blocks->end(), entry.repeat - 1, entry.block);
    blocks->push_back(std::move(entry.block));
  }
  return Status::Ok();
}

bool Same(const BlockConfig& a, const BlockConfig& b) {
  if (a.sublayers.size() != b.sublayers.size()) return false;
  const auto text = [](BlockEntry entry) {
    return WriteFields([&](Fields& f) { entry.Visit(f); });
  };
  return text({.block = a}) == text({.block = b});
}

}  // namespace

void ModelConfig::Visit(Fields& f) {
  f.StringOr("name", &name);
  f.Int("vocab_size", &vocab_size, {1, 1 << 24});
  f.Int("dim", &dim, {1, 1 << 20});
  f.IntOr("max_positions", &max_positions, {});
  f.NumberOr("embedding_scale", &embedding_scale);
  f.BoolOr("learned_positions", &learned_positions);
  f.Require(!learned_positions || max_positions > 0,
            "\"learned_positions\" needs \"max_positions\"");
  f.Names("streams", &streams, {0, 64});
  for (const std::string& stream : streams) {
    f.RequireField(stream != "embedding", "streams",
                   "names other than \"embedding\"");
  }
  f.Object("embedding_norm", &embedding_norm);
  f.Object("final_norm", &final_norm);
  f.BoolOr("tied_head", &tied_head);
  f.BoolOr("head_bias", &head_bias);
  f.NumberOr("logit_scale", &logit_scale);
  f.NumberOr("logit_softcap", &logit_softcap);
  f.RequireField(logit_softcap >= 0, "logit_softcap", "positive");
  f.IntOr("bos_id", &bos_id, {-1, 1 << 30});
  f.IdsOr("eos_ids", &eos_ids);
}

void VisitModelFile(Fields& f) { ModelFile().Visit(f); }

Result<ModelConfig> ParseModelConfig(const Json& json) {
  ASSIGN_OR_RETURN(ModelFile file, ParseFields<ModelFile>(json, "model"));
  RETURN_IF_ERROR(Expand(std::move(file.blocks), &file.config.blocks));
  return std::move(file.config);
}

Json ToJson(const ModelConfig& config) {
  ModelFile file, fresh;
  file.config = config;
  file.config.blocks.clear();
  for (const BlockConfig& block : config.blocks) {
    if (!file.blocks.empty() && Same(file.blocks.back().block, block)) {
      ++file.blocks.back().repeat;
    } else {
      file.blocks.push_back({.block = block});
    }
  }
  return WriteChanged([&](Fields& f) { file.Visit(f); },
                      [&](Fields& f) { fresh.Visit(f); });
}

}  // namespace intarsia
