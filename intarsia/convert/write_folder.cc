// Folders of Hugging Face and of this project.
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/write_item.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/convert/layouts.h"
#include "intarsia/families/load.h"
#include "intarsia/families/translate.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

namespace fs = std::filesystem;

constexpr const char* kEntries[] = {"model.safetensors",
                                    "model.safetensors.index.json"};

// A folder that is to hold a model of one kind: new, or with an older model of
// that kind in it.
Status MakeFolder(const std::string& folder, bool native) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return InvalidArgument("[convert] cannot make the folder " + folder + ": " +
                           error.message());
  }
  const fs::path path(folder);
  const bool has_native = fs::exists(path / "intarsia.json", error);
  const bool has_hf = fs::exists(path / "config.json", error);
  if (native ? has_hf && !has_native : has_native) {
    return InvalidArgument(
        "[convert] " + folder + " holds a model of the other kind (" +
        (native ? "config.json" : "intarsia.json") +
        "), whose weights have the same names: give another folder");
  }
  for (const char* name : kEntries) {
    if (!fs::is_symlink(path / name, error)) continue;
    return InvalidArgument("[convert] " + (path / name).string() +
                           " is a link: give another folder");
  }
  return Status::Ok();
}

Status AddText(const fs::path& path, const std::string& text, FileSet* files) {
  AtomicFile& file = files->Add(path.string(), "convert");
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Write(text));
  return file.Finish();
}

// "model-00002-of-00007.safetensors".
bool IsShard(const std::string& name) {
  return name.starts_with("model-") && name.ends_with(".safetensors") &&
         name.find("-of-") != std::string::npos;
}

// What an older model left behind would be read with the new one. The weights'
// entry goes first: without it nothing loads.
void RemoveOlder(const fs::path& folder,
                 const std::map<std::string, std::string>& texts,
                 FileSet* files) {
  for (const char* name : kEntries) files->Remove((folder / name).string());
  for (const std::string& name : ModelFileNames(folder.string())) {
    if (!texts.contains(name)) files->Remove((folder / name).string());
  }
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (IsShard(entry.path().filename().string())) {
      files->Remove(entry.path().string());
    }
  }
}

// All files of a model in one step: until they are whole the older model stays,
// and a process that is ended amid the last moves leaves no mixture.
Status WriteFolder(const std::string& folder,
                   const std::map<std::string, std::string>& texts,
                   std::span<const LazyTensor> tensors,
                   uint64_t max_shard_bytes,
                   const SafetensorsMetadata& metadata) {
  FileSet files;
  RemoveOlder(folder, texts, &files);
  for (const auto& [name, text] : texts) {
    const fs::path path = fs::path(folder) / name;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error) {
      return InvalidArgument("[convert] cannot make the folder " +
                             path.parent_path().string() + ": " +
                             error.message());
    }
    RETURN_IF_ERROR(AddText(path, text, &files));
  }
  RETURN_IF_ERROR(
      AddSafetensors(folder, tensors, max_shard_bytes, metadata, &files));
  return files.Commit();
}

// As safetensors can hold it, made when it is written: blocks become f32, since
// a block's number is one rounding of fp32.
Result<LazyTensor> Plain(const LazyTensor& tensor) {
  const Format* format = FindFormat(tensor.encoding);
  if (format == nullptr) {
    return Unsupported("[convert] tensor " + tensor.name + " is stored as " +
                       tensor.encoding + ", which this build cannot read");
  }
  if (format->block() == 1) return tensor;
  LazyTensor plain = tensor;
  plain.encoding = "f32";
  plain.values = [tensor, format]() -> Result<Tensor> {
    ASSIGN_OR_RETURN(const Tensor bytes, tensor.values());
    ThreadPool pool;
    const int last = tensor.shape.rank() - 1;
    const int64_t k = tensor.shape[last];
    const Tensor blocks = bytes.Contiguous().Reshape(
        tensor.shape.With(last, static_cast<int64_t>(format->row_bytes(k))));
    return format->Dequantize(pool, blocks, k);
  };
  return plain;
}

}  // namespace

Status WriteHfFolder(const HfModel& model, const std::string& folder,
                     uint64_t max_shard_bytes) {
  RETURN_IF_ERROR(MakeFolder(folder, /*native=*/false));
  std::vector<LazyTensor> tensors;
  bool blocks = false;
  for (const LazyTensor& tensor : model.tensors) {
    ASSIGN_OR_RETURN(LazyTensor plain, Plain(tensor));
    blocks = blocks || plain.encoding != tensor.encoding;
    tensors.push_back(std::move(plain));
  }
  Json config = model.config;
  if (blocks) {
    config[config.contains("dtype") ? "dtype" : "torch_dtype"] = "float32";
    config.erase("quantization_config");
  }
  std::map<std::string, std::string> texts = model.files.texts;
  texts["config.json"] = config.dump(2) + "\n";
  return WriteFolder(folder, texts, tensors, max_shard_bytes,
                     {{"format", "pt"}});
}

Status WriteNativeFolder(const Checkpoint& checkpoint, const ModelFiles& files,
                         const std::string& folder, uint64_t max_shard_bytes,
                         bool allow_unused,
                         std::vector<std::string>* warnings) {
  RETURN_IF_ERROR(MakeFolder(folder, /*native=*/true));
  ASSIGN_OR_RETURN(const LoadedModel loaded,
                   LoadModel(checkpoint, {.allow_unused = allow_unused}));
  if (warnings != nullptr) *warnings = loaded.warnings;
  // Where there is a way to Hugging Face's layout, tensors go by it, so that
  // the way back is exact; else they lie as the model holds them.
  Result<HfModel> source = ReadHfModel(checkpoint);
  ModelConfig config = loaded.model->config();
  std::vector<NamedTensor> tensors;
  std::map<std::string, const LazyTensor*> whole;
  SafetensorsMetadata metadata;
  std::map<std::string, std::string> foreign;
  if (source.ok()) {
    metadata[kSourceConfig] = source->config.dump();
    for (const LazyTensor& tensor : source->tensors) {
      whole[tensor.name] = &tensor;
    }
    for (const TensorMap& map : source->layout) {
      if (IsWhole(map)) foreign[map.native] = map.foreign;
    }
    // GGUF keeps rows in another order, and less of the configuration.
    if (checkpoint.kind() != CheckpointKind::kHfFolder) {
      ASSIGN_OR_RETURN(FamilyModel maps, HfLayout(source->config));
      config = std::move(maps.config);
      TakeBiases(loaded.model->config(), &config);
    }
  }
  config.eos_ids = files.end_ids;
  for (const std::string& path : loaded.model->paths()) {
    const auto name = foreign.find(path);
    const auto raw =
        name == foreign.end() ? whole.end() : whole.find(name->second);
    if (raw != whole.end()) {
      ASSIGN_OR_RETURN(const Tensor bytes, raw->second->values());
      tensors.push_back({.name = path,
                         .tensor = bytes,
                         .encoding = raw->second->encoding,
                         .shape = raw->second->shape});
      continue;
    }
    const Weight& weight = *loaded.model->Find(path);
    NamedTensor tensor{.name = path, .tensor = weight.values()};
    if (weight.format().block() > 1) {
      tensor.encoding = weight.format().name();
      tensor.shape = weight.shape();
    }
    tensors.push_back(std::move(tensor));
  }
  std::map<std::string, std::string> texts = files.texts;
  texts["intarsia.json"] = ToJson(config).dump(2) + "\n";
  return WriteFolder(folder, texts, Lazily(tensors), max_shard_bytes, metadata);
}

Status CheckNotSource(const Checkpoint& source, const std::string& out,
                      const std::string& room) {
  std::set<std::string> paths = {source.path()};
  for (const StoredTensor& tensor : source.tensors()) {
    paths.insert(tensor.file->path());
  }
  if (source.kind() == CheckpointKind::kHfFolder ||
      source.kind() == CheckpointKind::kNativeFolder) {
    std::vector<std::string> names = ModelFileNames(source.path());
    names.insert(names.end(), {"config.json", "intarsia.json",
                               "model.safetensors.index.json"});
    for (const std::string& name : names) {
      paths.insert(source.path() + "/" + name);
    }
  }
  // What would be written over: the file, its parts, or a folder's files.
  std::set<std::string> written = {out};
  const fs::path target(out);
  std::error_code ignored;
  const bool folder = fs::is_directory(target, ignored);
  const fs::path parent = target.has_parent_path() ? target.parent_path() : ".";
  const std::string stem = target.stem().string() + "-";
  for (const auto& entry :
       fs::directory_iterator(folder ? target : parent, ignored)) {
    const std::string name = entry.path().filename().string();
    // "00002-of-00007.gguf" behind the stem.
    const bool part = name.size() == stem.size() + 19 &&
                      name.starts_with(stem) && name.ends_with(".gguf") &&
                      name.compare(stem.size() + 5, 4, "-of-") == 0;
    if (folder || part) written.insert(entry.path().string());
  }
  for (const std::string& path : paths) {
    for (const std::string& over : written) {
      if (!fs::equivalent(path, over, ignored) || ignored) continue;
      return InvalidArgument("[" + room + "] " + out +
                             " is the model itself, or holds a file of it (" +
                             over + "): give another name");
    }
  }
  return Status::Ok();
}

}  // namespace intarsia
