#include "intarsia/families/open.h"

#include <filesystem>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/device.h"
#include "intarsia/core/in_file.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/model/pack.h"

namespace intarsia {
namespace {

// The vocabulary that GGUF metadata carries.
Result<std::unique_ptr<Tokenizer>> TokenizerFromGguf(
    const Checkpoint& checkpoint) {
  const GgufMetadata& metadata = *checkpoint.gguf();
  if (!metadata.Has("tokenizer.ggml.tokens")) {
    // Files of ours may carry a tokenizer that GGUF has no name for.
    const char* whole = "tokenizer.huggingface.json";
    if (!metadata.Has(whole)) return std::unique_ptr<Tokenizer>();
    ASSIGN_OR_RETURN(const std::string text, metadata.String(whole));
    nlohmann::json config = nlohmann::json::object();
    if (const auto chat = metadata.String("tokenizer.chat_template");
        chat.ok()) {
      config["chat_template"] = ToUtf8(*chat);
    }
    return Tokenizer::FromJson(text, config.dump(), checkpoint.path());
  }
  TokenizerVocab vocab;
  vocab.source = checkpoint.path();
  ASSIGN_OR_RETURN(vocab.model, metadata.String("tokenizer.ggml.model"));
  ASSIGN_OR_RETURN(vocab.tokens, metadata.Tokens());
  auto id = [&](const char* key, int64_t* out) -> Status {
    const std::string name = std::string("tokenizer.ggml.") + key;
    if (!metadata.Has(name)) return Status::Ok();
    ASSIGN_OR_RETURN(*out, metadata.Int(name));
    return Status::Ok();
  };
  auto flag = [&](const char* key, std::optional<bool>* out) -> Status {
    const std::string name = std::string("tokenizer.ggml.") + key;
    if (!metadata.Has(name)) return Status::Ok();
    ASSIGN_OR_RETURN(*out, metadata.Bool(name));
    return Status::Ok();
  };
  RETURN_IF_ERROR(id("bos_token_id", &vocab.bos_id));
  RETURN_IF_ERROR(id("eos_token_id", &vocab.eos_id));
  RETURN_IF_ERROR(id("unknown_token_id", &vocab.unk_id));
  RETURN_IF_ERROR(flag("add_bos_token", &vocab.add_bos));
  RETURN_IF_ERROR(flag("add_eos_token", &vocab.add_eos));
  for (const char* key : {"eot_token_id", "eom_token_id"}) {
    int64_t more = -1;
    RETURN_IF_ERROR(id(key, &more));
    if (more >= 0) vocab.more_eog_ids.push_back(more);
  }
  if (metadata.Has("tokenizer.ggml.pre")) {
    ASSIGN_OR_RETURN(vocab.pre, metadata.String("tokenizer.ggml.pre"));
  }
  if (metadata.Has("tokenizer.ggml.token_type")) {
    ASSIGN_OR_RETURN(vocab.token_types, metadata.TokenTypes());
  }
  if (metadata.Has("tokenizer.ggml.merges")) {
    ASSIGN_OR_RETURN(vocab.merges, metadata.Merges());
  }
  if (metadata.Has("tokenizer.ggml.scores")) {
    ASSIGN_OR_RETURN(vocab.scores, metadata.Scores());
  }
  RETURN_IF_ERROR(flag("add_space_prefix", &vocab.add_space_prefix));
  RETURN_IF_ERROR(
      flag("remove_extra_whitespaces", &vocab.remove_extra_whitespaces));
  const char* charsmap = "tokenizer.ggml.precompiled_charsmap";
  if (metadata.Has(charsmap)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> bytes, metadata.Ints(charsmap));
    vocab.precompiled_charsmap.assign(bytes.begin(), bytes.end());
  }
  if (metadata.Has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(vocab.chat_template,
                     metadata.String("tokenizer.chat_template"));
  }
  const std::string named = "tokenizer.chat_template.";  // … tool_use, rag
  for (const auto& [key, value] : metadata.values()) {
    if (key.compare(0, named.size(), named) != 0) continue;
    ASSIGN_OR_RETURN(vocab.named_chat_templates[key.substr(named.size())],
                     metadata.String(key));
  }
  return Tokenizer::FromVocab(std::move(vocab));
}

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

}  // namespace

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) {
    return InFile(TokenizerFromGguf(checkpoint), checkpoint.path());
  }
  if (checkpoint.tokenizer_path().empty()) {
    for (const char* name : {"tokenizer.model", "rwkv_vocab_v20230424.txt"}) {
      const std::filesystem::path file =
          std::filesystem::path(checkpoint.path()) / name;
      std::error_code ignored;
      if (std::filesystem::is_regular_file(file, ignored)) {
        return Tokenizer::FromFile(file.string(),
                                   checkpoint.tokenizer_config_path());
      }
    }
    return std::unique_ptr<Tokenizer>();
  }
  return Tokenizer::FromJsonFile(checkpoint.tokenizer_path(),
                                 checkpoint.tokenizer_config_path());
}

Result<OpenedModel> OpenModel(const std::string& name,
                              const LoadOptions& options, Device device) {
  if (device.is_cuda()) Backend(device);  // fails before anything is read
  OpenedModel opened;
  ASSIGN_OR_RETURN(const std::string path, ResolveModel(name));
  ASSIGN_OR_RETURN(opened.checkpoint, Checkpoint::Open(path));
  ASSIGN_OR_RETURN(opened.loaded, LoadModel(*opened.checkpoint, options));
  ASSIGN_OR_RETURN(opened.tokenizer, OpenTokenizer(*opened.checkpoint));
  if (!device.is_cpu()) {
    opened.loaded.model->MoveTo(device);
  } else if (options.pack) {
    Pack(options.pack_threads, &opened);
  }
  return opened;
}

}  // namespace intarsia
