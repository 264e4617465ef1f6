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
#include "intarsia/convert/model_files.h"
#include "intarsia/core/status.h"
#include "intarsia/families/family.h"

namespace intarsia {

struct HfModel {
  nlohmann::json config;            // config.json
  std::vector<LazyTensor> tensors;  // under Hugging Face's names
  std::vector<TensorMap> layout;    // theirs and ours; empty: not known
  ModelFiles files;                 // what lies beside them
  std::vector<std::string> warnings;
};

// A folder of Hugging Face as it is; GGUF of families that have a GgufForm;
// native folders that WriteNativeFolder made from one of these.
// The checkpoint must outlive the model.
Result<HfModel> ReadHfModel(const Checkpoint& checkpoint);

// The same under GGUF's names and with its metadata, for families that have
// both. Vectors become f32, as llama.cpp wants them. config.json and
// tokenizer.json go along as metadata, so that the way back is exact.
Result<GgufModel> ToGgufModel(const HfModel& model, const std::string& name);

// config.json, model.safetensors (sharded past `max_shard_bytes`) and the files
// beside it. Formats that safetensors lacks become f32, exactly. An older model
// of the same kind in the folder is replaced once the new one is whole; whoever
// ends the process meanwhile finds the older, the newer or one that does not
// load. Other files stay. Refused: a folder with a model of the other kind.
Status WriteHfFolder(const HfModel& model, const std::string& folder,
                     uint64_t max_shard_bytes);

// intarsia.json, tensors under our names, blocks as they are, and the files
// (ReadModelFiles of the checkpoint). Any family. What of the model nobody
// knows the use of is an error unless `allow_unused`. `warnings` may be null.
Status WriteNativeFolder(const Checkpoint& checkpoint, const ModelFiles& files,
                         const std::string& folder, uint64_t max_shard_bytes,
                         bool allow_unused, std::vector<std::string>* warnings);

// Refuses an output that is the model itself, a part of it, one of the files
// beside its weights, or a folder with a file of it. `room` starts the message.
Status CheckNotSource(const Checkpoint& source, const std::string& out,
                      const std::string& room);

// Biases and a head's tie, of which tensors say more than a configuration.
void TakeBiases(const ModelConfig& from, ModelConfig* to);

// The native tensor is the foreign one, unchanged.
bool IsWhole(const TensorMap& map);

// Key of files of ours: the config.json that a model came with. It counts where
// it agrees with the metadata: each field that GGUF has too is the same.
inline constexpr char kSourceConfig[] = "intarsia.source_config";

// What the source configuration says otherwise than the metadata; empty: they
// agree. `fields`: the metadata as JSON.
std::string SourceDisagrees(const nlohmann::json& source,
                            const nlohmann::json& fields, int64_t vocab_size);

}  // namespace intarsia
