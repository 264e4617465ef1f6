// Checkpoints on disk: safetensors (one file, or shards with an index), GGUF
// v2 and v3 (split files too), and folders of Hugging Face or of this project.
//
// Files are untrusted. Open checks every count, offset, size and type before it
// is used, and allocates no more than a small multiple of what the file holds.
// Errors name the file and the fault. Tensors are views of the mapped file,
// which lives as long as any of them.
//
// Formats: https://github.com/huggingface/safetensors#format,
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/gguf.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

struct StoredTensor {
  std::string name;
  Shape shape;           // row-major, outermost first: [out, in], GGUF too
  std::string encoding;  // encoding.h: "f32", "bf16", "q4_1", ...
  Tensor bytes;          // u8 [n] of the mapped file
  std::shared_ptr<const MappedFile> file;  // that holds it

  // A plain encoding as a tensor of `shape`: a view, or a copy where the file
  // places it at an odd address. "bool" becomes u8. Unsupported for blocks.
  Result<Tensor> AsTensor() const;

  // Looks for a NaN or infinite scale among at most `limit` blocks, spread over
  // the tensor; plain encodings have none. DataLoss names the block.
  Status ValidateBlocks(int64_t limit = 1 << 16) const;
};

// The tensors of one or several files, in file order. For the readers below.
class TensorTable {
 public:
  Status Add(StoredTensor tensor);  // InvalidArgument when the name is there
  void Reserve(size_t more);
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* Find(std::string_view name) const;

 private:
  std::vector<StoredTensor> tensors_;
  // A map and not a hash table: names are chosen by others.
  std::map<std::string, size_t, std::less<>> index_;
};

enum class CheckpointKind { kHfFolder, kNativeFolder, kGguf, kSafetensors };

class Checkpoint {
 public:
  // `path`: a folder, a .safetensors or .gguf file, or an index of shards
  // (*.safetensors.index.json). Of split GGUF files, the first. A folder with
  // neither config.json nor intarsia.json but one GGUF model stands for that.
  // `source`: whether files of tensors are mapped or copied into memory.
  static Result<std::unique_ptr<Checkpoint>> Open(
      const std::string& path,
      MappedFile::Source source = MappedFile::Source::kMap);

  // A safetensors file that is no model. `what` it should be, for messages,
  // which start with the room's name: "a saved state".
  static Result<std::unique_ptr<Checkpoint>> OpenRecord(
      const std::string& path, const std::string& room,
      const std::string& what);

  CheckpointKind kind() const { return kind_; }
  const std::string& path() const { return path_; }

  const std::vector<std::string>& names() const { return names_; }
  const std::vector<StoredTensor>& tensors() const { return table_.tensors(); }
  const StoredTensor* Find(std::string_view name) const {  // null: not there
    return table_.Find(name);
  }

  // intarsia.json or config.json of a folder. For GGUF one object, keys as in
  // the file ("llama.block_count"), without arrays of over 4096 items, which
  // gguf() has. Empty for a bare safetensors file.
  const nlohmann::json& config() const { return *config_; }
  // Keys that config.json gives more than once: the last counts, as in Python.
  const std::set<std::string>& repeated_keys() const { return repeated_keys_; }

  // __metadata__ of the (first) safetensors file.
  const std::map<std::string, std::string>& metadata() const {
    return metadata_;
  }

  // Null unless kind() is kGguf.
  const GgufMetadata* gguf() const { return gguf_.get(); }

  // Files of a folder; empty where there is none.
  const std::string& tokenizer_path() const { return tokenizer_path_; }
  const std::string& tokenizer_config_path() const {
    return tokenizer_config_path_;
  }
  const std::string& generation_config_path() const {
    return generation_config_path_;
  }

  // The pages of the files leave this process until they are touched again.
  void LetGo() const;

  // ValidateBlocks of every tensor.
  Status ValidateBlocks(int64_t limit_per_tensor = 1 << 16) const;

 private:
  Checkpoint();
  Status OpenFolder();
  Status OpenGguf(const std::string& path);
  Status OpenSafetensors(const std::string& path);
  Status OpenIndex(const std::string& path);
  void ListNames();
  // Maps a file, and keeps it.
  Result<std::shared_ptr<const MappedFile>> Map(const std::string& path);

  MappedFile::Source source_ = MappedFile::Source::kMap;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  CheckpointKind kind_ = CheckpointKind::kSafetensors;
  std::string path_;
  std::vector<std::string> names_;
  TensorTable table_;
  std::set<std::string> repeated_keys_;
  std::shared_ptr<nlohmann::json> config_;  // never null
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<GgufMetadata> gguf_;
  std::string tokenizer_path_, tokenizer_config_path_, generation_config_path_;
};

// Readers of one mapped file, which also serve the fuzzers.
Status ReadSafetensors(std::shared_ptr<const MappedFile> file,
                       TensorTable* table,
                       std::map<std::string, std::string>* metadata);
Status ReadGguf(std::shared_ptr<const MappedFile> file, TensorTable* table,
                std::unique_ptr<GgufMetadata>* metadata);

// Tensor names and the shard that holds each, by an index's text. Shards are
// names of files beside it. A name that is there twice is InvalidArgument.
Result<std::map<std::string, std::string>> ReadShardIndex(
    std::string_view text, const std::string& path);

}  // namespace intarsia
