// A model as a Hugging Face folder holds it: what every conversion passes
// through. Tensors keep the format that they are stored in; reordering rows
// (GGUF keeps those of queries and keys in pairs for rotary embeddings) moves
// whole rows and changes no bit.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/convert/gguf_model.h"
#include "intarsia/core/status.h"
#include "intarsia/families/family.h"

namespace intarsia {

struct HfModel {
  nlohmann::json config;            // config.json
  std::vector<LazyTensor> tensors;  // under Hugging Face's names
  std::string tokenizer;            // tokenizer.json as text; empty: none
  std::string tokenizer_config;     // tokenizer_config.json
  std::string generation_config;    // generation_config.json
  std::vector<std::string> warnings;
};

// A folder of Hugging Face as it is; GGUF of the llama, qwen2, qwen3 and gpt2
// architectures; native folders that WriteNativeFolder made from one of these.
// The checkpoint must outlive the model.
Result<HfModel> ReadHfModel(const Checkpoint& checkpoint);

// The same under GGUF's names and with its metadata, for families that have
// both. Vectors become f32, as llama.cpp wants them. config.json and
// tokenizer.json go along as metadata, so that the way back is exact.
Result<GgufModel> ToGgufModel(const HfModel& model, const std::string& name);

// config.json, model.safetensors (sharded past `max_shard_bytes`) and the
// tokenizer's files. Formats that safetensors lacks become f32, exactly.
Status WriteHfFolder(const HfModel& model, const std::string& folder,
                     uint64_t max_shard_bytes);

// intarsia.json and tensors under our names, blocks as they are. Any family.
Status WriteNativeFolder(const Checkpoint& checkpoint,
                         const std::string& folder, uint64_t max_shard_bytes);

// tokenizer.ggml.* from tokenizer.json, and back. Byte-level BPE; for others
// the metadata holds tokenizer.json alone, and a warning says so.
void TokenizerToGguf(const HfModel& model, GgufModel* out);
void TokenizerFromGguf(const GgufMetadata& metadata, HfModel* out);

// The native tensor is the foreign one, unchanged.
bool IsWhole(const TensorMap& map);

// Keys of files of ours: the config.json that a model came with.
inline constexpr char kSourceConfig[] = "intarsia.source_config";
inline constexpr char kHfTokenizer[] = "tokenizer.huggingface.json";

}  // namespace intarsia
