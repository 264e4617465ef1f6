#include "intarsia/families/open.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "intarsia/core/device.h"
#include "intarsia/core/in_file.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/model/pack.h"
#include "intarsia/tokenizer/vocab_merges.h"

namespace intarsia {
namespace {

void Pack(int threads, OpenedModel* opened) {
  const size_t bytes = PackedBytes(opened->model());
  if (bytes == 0) return;
  if (bytes > AvailableMemory() / 2) {
    opened->loaded.warnings.push_back(
        "weights stay as stored: packing them for this CPU takes " +
        std::to_string(bytes >> 20) + " MiB, more than half of what is free");
    return;
  }
  ThreadPool pool(threads);
  PackWeights(&opened->model(), pool,
              [opened] { opened->checkpoint->LetGo(); });
  opened->packed_bytes = bytes;
}

// Of vocab.json and merges.txt; null where the folder has not both.
Result<std::unique_ptr<Tokenizer>> OpenFromVocabulary(
    const Checkpoint& checkpoint, std::vector<std::string>* warnings) {
  const std::filesystem::path folder(checkpoint.path());
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(folder / "vocab.json", ignored) ||
      !std::filesystem::is_regular_file(folder / "merges.txt", ignored)) {
    return std::unique_ptr<Tokenizer>();
  }
  auto tokenizer =
      OpenVocabMerges(folder.string(), checkpoint.tokenizer_config_path(),
                      ModelType(checkpoint.config()));
  if (tokenizer.ok() || tokenizer.status().code() != StatusCode::kUnsupported) {
    return tokenizer;
  }
  // The model serves without one.
  if (warnings != nullptr) warnings->push_back(tokenizer.status().message());
  return std::unique_ptr<Tokenizer>();
}

}  // namespace

std::string ModelType(const nlohmann::json& config) {
  const auto type =
      config.is_object() ? config.find("model_type") : config.end();
  return type != config.end() && type->is_string() ? type->get<std::string>()
                                                   : std::string();
}

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(
    const Checkpoint& checkpoint, std::vector<std::string>* warnings) {
  if (checkpoint.gguf() != nullptr) {
    return InFile(OpenGgufTokenizer(checkpoint, warnings), checkpoint.path());
  }
  if (checkpoint.tokenizer_path().empty()) {
    for (const char* name : {"tokenizer.model", "rwkv_vocab_v20230424.txt"}) {
      const std::filesystem::path file =
          std::filesystem::path(checkpoint.path()) / name;
      std::error_code ignored;
      if (std::filesystem::is_regular_file(file, ignored)) {
        return Tokenizer::FromFile(file.string(),
                                   checkpoint.tokenizer_config_path(),
                                   ModelType(checkpoint.config()));
      }
    }
    return OpenFromVocabulary(checkpoint, warnings);
  }
  return Tokenizer::FromJsonFile(checkpoint.tokenizer_path(),
                                 checkpoint.tokenizer_config_path(),
                                 ModelType(checkpoint.config()));
}

Result<OpenedModel> OpenModel(const std::string& name,
                              const LoadOptions& options, Device device) {
  if (device.is_cuda()) Backend(device);  // fails before anything is read
  OpenedModel opened;
  ASSIGN_OR_RETURN(const std::string path, ResolveModel(name));
  ASSIGN_OR_RETURN(
      opened.checkpoint,
      Checkpoint::Open(path, options.copy_files ? MappedFile::Source::kCopy
                                                : MappedFile::Source::kMap));
  ASSIGN_OR_RETURN(opened.loaded, LoadModel(*opened.checkpoint, options));
  ASSIGN_OR_RETURN(opened.tokenizer,
                   OpenTokenizer(*opened.checkpoint, &opened.loaded.warnings));
  if (opened.tokenizer != nullptr) {
    const Status rows =
        opened.tokenizer->SetModelRows(opened.model().config().vocab_size);
    if (!rows.ok()) {
      return Status(rows.code(), rows.message() + " (in " + path + ")");
    }
    for (const std::string& warning : opened.tokenizer->warnings()) {
      opened.loaded.warnings.push_back("tokenizer: " + warning);
    }
  }
  if (!device.is_cpu()) {
    opened.loaded.model->MoveTo(device);
  } else if (options.pack) {
    Pack(options.pack_threads, &opened);
  }
  return opened;
}

}  // namespace intarsia
