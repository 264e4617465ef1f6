#include "intarsia/checkpoint/checkpoint.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/foreign.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/counted.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxIndexBytes = 64 << 20;
constexpr char kIndexName[] = "model.safetensors.index.json";

// Whether a file is there. An error where that cannot be told (a folder that
// may not be entered) or where a link leads nowhere, which is not the same as
// no file.
Result<bool> IsFile(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_regular_file(status)) return true;
  const std::string where = "[checkpoint] " + path.string() + ": ";
  if (status.type() == fs::file_type::none) {
    return InvalidArgument(where + error.message());
  }
  if (fs::exists(status) && !fs::is_directory(status)) {
    return InvalidArgument(where + "is " +
                           (fs::is_fifo(status)     ? "a FIFO"
                            : fs::is_socket(status) ? "a socket"
                                                    : "a device") +
                           ", not a regular file");
  }
  std::error_code ignored;
  if (status.type() == fs::file_type::not_found &&
      fs::is_symlink(fs::symlink_status(path, ignored))) {
    return NotFound(where + "is a link to " +
                    fs::read_symlink(path, ignored).string() +
                    ", which is not there");
  }
  return false;
}

// The path if a file is there, else "".
Result<std::string> FileOrNone(const fs::path& path) {
  ASSIGN_OR_RETURN(const bool there, IsFile(path));
  return there ? path.string() : std::string();
}

// A folder that holds what PEFT trained beside a model, and not the model.
Status RefuseAdapter(const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  ASSIGN_OR_RETURN(const bool there, IsFile(path));
  if (!there) return Status::Ok();
  std::string type = "LoRA", base;
  const auto config = ReadJsonFile(path.string(), "checkpoint", kMaxConfigBytes,
                                   {.non_finite = true, .repeats = true});
  if (config.ok() && config->is_object()) {
    const auto text = [&](const char* key) {
      const auto value = config->value(key, nlohmann::json());
      return value.is_string() ? value.get<std::string>() : std::string();
    };
    if (!text("peft_type").empty()) type = text("peft_type");
    base = text("base_model_name_or_path");
  }
  return Unsupported(
      "[checkpoint] " + folder.string() + ": holds a PEFT adapter (" +
      Printable(type, 40) + ") and not the model that it was trained on" +
      (base.empty() ? "" : ", " + Printable(base, 100)) +
      ": merge it into that model (peft's merge_and_unload, then "
      "save_pretrained) and open the result");
}

// What a folder without weights that are read has instead, for its message.
std::string OtherWeights(const fs::path& folder) {
  static constexpr std::pair<std::string_view, std::string_view> kOthers[] = {
      {".bin", "runs code when it is read: convert it to safetensors"},
      {".pth", "runs code when it is read: convert it to safetensors"},
      {".pt", "runs code when it is read: convert it to safetensors"},
      {".ckpt", "runs code when it is read: convert it to safetensors"},
      {".h5", "is of Keras or TensorFlow: convert it to safetensors"},
      {".msgpack", "is of Flax: convert it to safetensors"},
      {".onnx", "is ONNX, which is not read"},
      {".safetensors",
       "has a name that is not looked for: name the file, or "
       "its index"},
      {".gguf", "is beside config.json: name the file"},
      {".part", "is a download that has not ended"},
      {".incomplete", "is a download that has not ended"},
  };
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (names.size() == 10'000) break;  // as many as a message needs
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  for (const auto& [suffix, what] : kOthers) {
    for (const std::string& name : names) {
      // "training_args.bin" and the like are no weights.
      if (!name.ends_with(suffix) || name.starts_with("training_args") ||
          name.starts_with("optimizer") || name.starts_with("scheduler") ||
          name.starts_with("rng_state")) {
        continue;
      }
      return "; " + Printable(name) + " " + std::string(what);
    }
  }
  return "";
}

// "model-00002-of-00007.gguf" → {"model", 2, 7}. Part 0: no such name.
struct SplitName {
  std::string prefix;
  int part = 0;
  int count = 0;
};

SplitName ParseSplitName(const std::string& path) {
  static constexpr std::string_view kTail = "-00000-of-00000.gguf";
  if (path.size() <= kTail.size()) return {};
  const size_t start = path.size() - kTail.size();
  SplitName name{.prefix = path.substr(0, start)};
  for (size_t i = 0; i < kTail.size(); ++i) {
    const char c = path[start + i];
    if (kTail[i] != '0') {
      if (c != kTail[i]) return {};
      continue;
    }
    if (c < '0' || c > '9') return {};
    int& number = i < 6 ? name.part : name.count;
    number = number * 10 + (c - '0');
  }
  return name;
}

std::string SplitPath(const SplitName& name, int part) {
  auto five = [](int n) {
    std::string digits = std::to_string(n);
    return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
  };
  return name.prefix + "-" + five(part) + "-of-" + five(name.count) + ".gguf";
}

// A key of a split file, or `fallback` where it is not there.
Result<int64_t> SplitKey(const GgufMetadata& metadata, const char* key,
                         int64_t fallback) {
  if (!metadata.Has(key)) return fallback;
  return metadata.Int(key);
}

// Files without the suffix: a length of 8 bytes, then a JSON object.
bool LooksLikeSafetensors(std::string_view text) {
  return text.size() > 8 && text[8] == '{';
}

}  // namespace

Result<Tensor> StoredTensor::AsTensor() const {
  const Encoding* found = FindEncoding(encoding);
  if (found == nullptr || !found->dtype) {
    return Unsupported("[checkpoint] " + file->path() + ": tensor \"" +
                       Printable(name) + "\" is stored as " + encoding +
                       ", which is not a plain tensor");
  }
  const DType dtype = *found->dtype;
  // A view needs the address that the type does.
  const auto address = reinterpret_cast<uintptr_t>(bytes.raw());
  const Tensor aligned = address % SizeOf(dtype) == 0 ? bytes : bytes.Clone();
  const size_t offset = aligned.raw() - aligned.storage()->data();
  return Tensor::Wrap(aligned.storage(), offset, shape, dtype);
}

Status StoredTensor::ValidateBlocks(int64_t limit) const {
  const Encoding* found = FindEncoding(encoding);
  CHECK(found != nullptr) << encoding;
  const int64_t block =
      FindBadScale(*found, {bytes.raw(), bytes.nbytes()}, limit);
  if (block < 0) return Status::Ok();
  return DataLoss("[checkpoint] " + file->path() + ": tensor \"" +
                  Printable(name) +
                  "\" has a scale that is NaN or infinite in " + encoding +
                  " block " + std::to_string(block));
}

Status TensorTable::Add(StoredTensor tensor) {
  const auto [at, fresh] = index_.emplace(tensor.name, tensors_.size());
  if (!fresh) {
    return InvalidArgument("[checkpoint] " + tensor.file->path() +
                           ": tensor \"" + Printable(tensor.name) +
                           "\" is there twice");
  }
  tensors_.push_back(std::move(tensor));
  return Status::Ok();
}

void TensorTable::Reserve(size_t more) {
  // Not less than doubling, so that many small files stay linear.
  const size_t want = tensors_.size() + more;
  if (want > tensors_.capacity()) {
    tensors_.reserve(std::max(want, 2 * tensors_.size()));
  }
}

const StoredTensor* TensorTable::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

Result<std::map<std::string, std::string>> ReadShardIndex(
    std::string_view text, const std::string& path) {
  const std::string where = "[safetensors] " + path + ": ";
  if (const std::string kind = ForeignFile(text); !kind.empty()) {
    return InvalidArgument(where + kind);
  }
  JsonPart map{{"weight_map"}};
  ASSIGN_OR_RETURN(const Json index,
                   ParseJson(text, where + "the file", {}, {&map, 1}));
  if (!map.text.starts_with('{')) {
    return InvalidArgument(where + "has no object \"weight_map\"");
  }
  std::map<std::string, std::string> shards;
  RETURN_IF_ERROR(VisitJson(
      map.text, where + "weight_map", {},
      [&](std::string* name, Json* value) -> Status {
        const std::string tensor = "tensor \"" + Printable(*name) + "\" ";
        if (!value->is_string()) {
          return InvalidArgument(where + tensor +
                                 "is not mapped to a file name");
        }
        auto& file = value->get_ref<std::string&>();
        // A name beside the index, never a path out of its folder.
        if (file.find_first_of(std::string_view("/\\\0", 3)) !=
                std::string::npos ||
            !file.ends_with(".safetensors")) {
          return InvalidArgument(where + tensor + "is mapped to \"" +
                                 Printable(file) +
                                 "\", which is not the name of a safetensors "
                                 "file in that folder");
        }
        if (!shards.emplace(*name, std::move(file)).second) {
          return InvalidArgument(where + "weight_map gives \"" +
                                 Printable(*name) + "\" twice");
        }
        return Status::Ok();
      }));
  return shards;
}

Checkpoint::Checkpoint()
    : config_(std::make_shared<nlohmann::json>(nlohmann::json::object())) {}

Result<std::unique_ptr<Checkpoint>> Checkpoint::Open(
    const std::string& path, MappedFile::Source source) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->source_ = source;
  checkpoint->path_ = path;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::none) {
    return InvalidArgument("[checkpoint] " + path + ": " + error.message());
  }
  if (!fs::exists(status)) {
    return NotFound("[checkpoint] " + path + ": no such file or folder");
  }
  if (fs::is_directory(status)) {
    RETURN_IF_ERROR(checkpoint->OpenFolder());
  } else if (path.ends_with(".index.json")) {
    RETURN_IF_ERROR(checkpoint->OpenIndex(path));
  } else {
    ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                     MappedFile::Open(path));
    if (path.ends_with(".gguf") || file->text().starts_with("GGUF")) {
      RETURN_IF_ERROR(checkpoint->OpenGguf(path));
    } else if (path.ends_with(".safetensors") ||
               LooksLikeSafetensors(file->text())) {
      RETURN_IF_ERROR(checkpoint->OpenSafetensors(path));
    } else {
      const std::string kind = NotWeights(file->text());
      return InvalidArgument("[checkpoint] " + path + ": " +
                             (kind.empty() ? "" : kind + "; it is ") +
                             "neither GGUF nor safetensors; a model is a "
                             "file of these or a folder with config.json");
    }
  }
  checkpoint->ListNames();
  return checkpoint;
}

Result<std::shared_ptr<const MappedFile>> Checkpoint::Map(
    const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                   MappedFile::Open(path, source_));
  files_.push_back(file);
  return file;
}

void Checkpoint::LetGo() const {
  for (const auto& file : files_) file->Advise(MappedFile::Access::kDone);
}

void Checkpoint::ListNames() {
  names_.reserve(tensors().size());
  for (const StoredTensor& tensor : tensors()) names_.push_back(tensor.name);
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::OpenRecord(
    const std::string& path, const std::string& room, const std::string& what) {
  const std::string where = "[" + room + "] " + path + ": ";
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) {
    return InvalidArgument(where + "is a folder, not " + what);
  }
  if (fs::is_regular_file(status)) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file,
                     MappedFile::Open(path));
    if (!LooksLikeSafetensors(file->text())) {
      const std::string kind = NotWeights(file->text());
      return InvalidArgument(where + "is not " + what +
                             (kind.empty() ? "" : "; it " + kind));
    }
  }
  return Open(path);
}

Status Checkpoint::OpenFolder() {
  const fs::path folder(path_);
  ASSIGN_OR_RETURN(const bool native, IsFile(folder / "intarsia.json"));
  ASSIGN_OR_RETURN(const bool foreign, IsFile(folder / "config.json"));
  if (!native && !foreign) {
    // A folder that holds a GGUF model and nothing else to choose from.
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end;
         at.increment(error)) {
      const std::string file = at->path().string();
      if (!file.ends_with(".gguf") || ParseSplitName(file).part > 1) continue;
      found.push_back(file);
    }
    if (error) {
      return InvalidArgument("[checkpoint] " + path_ +
                             ": the folder cannot be read: " + error.message());
    }
    if (found.size() == 1) return OpenGguf(found[0]);
    RETURN_IF_ERROR(RefuseAdapter(folder));
    return NotFound(
        "[checkpoint] " + path_ +
        ": neither intarsia.json nor config.json, and " +
        (found.empty() ? "no GGUF file" : "more than one GGUF file: name one"));
  }
  kind_ = native ? CheckpointKind::kNativeFolder : CheckpointKind::kHfFolder;
  const fs::path config = folder / (native ? "intarsia.json" : "config.json");
  ASSIGN_OR_RETURN(*config_,
                   ReadJsonFile(config.string(), "checkpoint", kMaxConfigBytes,
                                {.non_finite = true,
                                 .repeats = !native,
                                 .repeated = &repeated_keys_}));
  if (!config_->is_object()) {
    return InvalidArgument("[checkpoint] " + config.string() +
                           ": not an object");
  }
  ASSIGN_OR_RETURN(tokenizer_path_, FileOrNone(folder / "tokenizer.json"));
  ASSIGN_OR_RETURN(tokenizer_config_path_,
                   FileOrNone(folder / "tokenizer_config.json"));
  ASSIGN_OR_RETURN(generation_config_path_,
                   FileOrNone(folder / "generation_config.json"));
  const CheckpointKind kind = kind_;
  ASSIGN_OR_RETURN(const std::string whole,
                   FileOrNone(folder / "model.safetensors"));
  ASSIGN_OR_RETURN(const std::string index, FileOrNone(folder / kIndexName));
  if (!whole.empty()) {
    RETURN_IF_ERROR(OpenSafetensors(whole));
  } else if (!index.empty()) {
    RETURN_IF_ERROR(OpenIndex(index));
  } else {
    RETURN_IF_ERROR(RefuseAdapter(folder));
    return NotFound("[checkpoint] " + path_ + ": neither model.safetensors " +
                    "nor " + kIndexName + OtherWeights(folder));
  }
  kind_ = kind;
  return Status::Ok();
}

Status Checkpoint::OpenSafetensors(const std::string& path) {
  kind_ = CheckpointKind::kSafetensors;
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, Map(path));
  return ReadSafetensors(std::move(file), &table_, &metadata_);
}

Status Checkpoint::OpenIndex(const std::string& path) {
  kind_ = CheckpointKind::kSafetensors;
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> index,
                   MappedFile::Open(path));
  if (index->size() > kMaxIndexBytes) {
    return InvalidArgument("[safetensors] " + path + ": " +
                           std::to_string(index->size()) + " bytes, at most " +
                           std::to_string(kMaxIndexBytes) + " are read");
  }
  ASSIGN_OR_RETURN(const auto shards, ReadShardIndex(index->text(), path));
  std::set<std::string> files;
  for (const auto& [name, file] : shards) files.insert(file);
  const fs::path folder = fs::path(path).parent_path();
  bool first = true;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped,
                     Map((folder / file).string()));
    TensorTable shard;
    std::map<std::string, std::string> metadata;
    RETURN_IF_ERROR(ReadSafetensors(std::move(mapped), &shard, &metadata));
    if (first) metadata_ = std::move(metadata);
    first = false;
    // The index says which shard counts where two hold the same name.
    for (const StoredTensor& tensor : shard.tensors()) {
      const auto mapped_to = shards.find(tensor.name);
      if (mapped_to == shards.end() || mapped_to->second != file) continue;
      RETURN_IF_ERROR(table_.Add(tensor));
    }
  }
  for (const auto& [name, file] : shards) {
    if (table_.Find(name) == nullptr) {
      return DataLoss("[safetensors] " + path + ": tensor \"" +
                      Printable(name) + "\" is not in " + Printable(file));
    }
  }
  return Status::Ok();
}

Status Checkpoint::OpenGguf(const std::string& path) {
  kind_ = CheckpointKind::kGguf;
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, Map(path));
  RETURN_IF_ERROR(ReadGguf(std::move(file), &table_, &gguf_));
  *config_ = gguf_->ToJson();
  ASSIGN_OR_RETURN(const int64_t count, SplitKey(*gguf_, "split.count", 1));
  ASSIGN_OR_RETURN(const int64_t number, SplitKey(*gguf_, "split.no", 0));
  if (count <= 1) return Status::Ok();
  const std::string where = "[gguf] " + path + ": ";
  const SplitName name = ParseSplitName(path);
  if (name.part == 0 || name.count != count) {
    return InvalidArgument(where + "is one of " + std::to_string(count) +
                           " parts, but its name does not end in "
                           "-0000N-of-0000M.gguf with that number");
  }
  if (name.part != 1 || number != 0) {
    return InvalidArgument(where + "is part " + std::to_string(number + 1) +
                           " of a split model: open " + SplitPath(name, 1));
  }
  for (int part = 2; part <= name.count; ++part) {
    const std::string part_path = SplitPath(name, part);
    ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped, Map(part_path));
    std::unique_ptr<GgufMetadata> metadata;
    RETURN_IF_ERROR(ReadGguf(std::move(mapped), &table_, &metadata));
    ASSIGN_OR_RETURN(const int64_t own, SplitKey(*metadata, "split.no", -1));
    ASSIGN_OR_RETURN(const int64_t all, SplitKey(*metadata, "split.count", -1));
    if (own != part - 1 || all != count) {
      return InvalidArgument("[gguf] " + part_path + ": is part " +
                             std::to_string(own + 1) + " of " +
                             std::to_string(all) + " by its metadata");
    }
  }
  const auto have = static_cast<int64_t>(tensors().size());
  ASSIGN_OR_RETURN(const int64_t want,
                   SplitKey(*gguf_, "split.tensors.count", have));
  if (want != have) {
    return DataLoss(where + "its parts have " + Counted(have, "tensor") +
                    ", the model has " + std::to_string(want));
  }
  return Status::Ok();
}

Status Checkpoint::ValidateBlocks(int64_t limit_per_tensor) const {
  for (const StoredTensor& tensor : tensors()) {
    RETURN_IF_ERROR(tensor.ValidateBlocks(limit_per_tensor));
  }
  return Status::Ok();
}

}  // namespace intarsia
