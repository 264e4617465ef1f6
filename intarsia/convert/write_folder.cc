// Folders of Hugging Face and of this project.
#include <filesystem>
#include <map>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/convert/layouts.h"
#include "intarsia/families/load.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

Status MakeFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) return Status::Ok();
  return InvalidArgument("[convert] cannot make the folder " + folder + ": " +
                         error.message());
}

Status WriteText(const std::string& folder, const char* name,
                 const std::string& text) {
  if (text.empty()) return Status::Ok();
  AtomicFile file((std::filesystem::path(folder) / name).string(), "convert");
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

Status WriteTokenizer(const HfModel& model, const std::string& folder) {
  RETURN_IF_ERROR(WriteText(folder, "tokenizer.json", model.tokenizer));
  RETURN_IF_ERROR(
      WriteText(folder, "tokenizer_config.json", model.tokenizer_config));
  return WriteText(folder, "generation_config.json", model.generation_config);
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
  RETURN_IF_ERROR(MakeFolder(folder));
  std::vector<LazyTensor> tensors;
  bool blocks = false;
  for (const LazyTensor& tensor : model.tensors) {
    ASSIGN_OR_RETURN(LazyTensor plain, Plain(tensor));
    blocks = blocks || plain.encoding != tensor.encoding;
    tensors.push_back(std::move(plain));
  }
  RETURN_IF_ERROR(WriteSafetensorsSharded(folder, tensors, max_shard_bytes,
                                          {{"format", "pt"}}));
  Json config = model.config;
  if (blocks) config["torch_dtype"] = "float32";
  RETURN_IF_ERROR(WriteTokenizer(model, folder));
  return WriteText(folder, "config.json", config.dump(2) + "\n");
}

Status WriteNativeFolder(const Checkpoint& checkpoint,
                         const std::string& folder, uint64_t max_shard_bytes) {
  RETURN_IF_ERROR(MakeFolder(folder));
  ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(checkpoint));
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
    const Family* family = FindFamily(TextOr(source->config, "model_type"));
    if (family != nullptr) {
      ASSIGN_OR_RETURN(FamilyModel maps, family->from_config(source->config));
      config = std::move(maps.config);
      for (const TensorMap& map : maps.tensors) {
        if (IsWhole(map)) foreign[map.native] = map.foreign;
      }
    }
  }
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
  RETURN_IF_ERROR(
      WriteSafetensorsSharded(folder, tensors, max_shard_bytes, metadata));
  if (source.ok()) RETURN_IF_ERROR(WriteTokenizer(*source, folder));
  return WriteText(folder, "intarsia.json", ToJson(config).dump(2) + "\n");
}

}  // namespace intarsia
