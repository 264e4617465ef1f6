#include "intarsia/convert/model_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/engine/answer.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/families/open.h"
#include "intarsia/families/translate.h"
#include "intarsia/tokenizer/json_components.h"
#include "intarsia/tokenizer/side_files.h"
#include "intarsia/tokenizer/vocab_merges.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kNames[] = {
    "tokenizer.json",     "tokenizer_config.json",   "special_tokens_map.json",
    "added_tokens.json",  "generation_config.json",  "chat_template.jinja",
    "chat_template.json", "tokenizer.model",         "vocab.json",
    "merges.txt",         "rwkv_vocab_v20230424.txt"};
constexpr char kMoreTemplates[] = "additional_chat_templates";

constexpr const char* kLeftOut[] = {"auto_map",
                                    "custom_pipelines",
                                    "custom_generate",
                                    "name_or_path",
                                    "_name_or_path",
                                    "tokenizer_file",
                                    "vocab_file",
                                    "merges_file",
                                    "added_tokens_file",
                                    "special_tokens_map_file",
                                    "tokenizer_config_file"};

bool IsLeftOut(const std::string& key) {
  return std::ranges::find(kLeftOut, key) != std::end(kLeftOut);
}

template <typename AnyJson>
bool ScrubTree(AnyJson* json) {
  bool changed = false;
  if (json->is_object()) {
    for (auto at = json->begin(); at != json->end();) {
      if (IsLeftOut(at.key())) {
        at = json->erase(at);
        changed = true;
      } else {
        changed |= ScrubTree(&at.value());
        ++at;
      }
    }
  } else if (json->is_array()) {
    for (AnyJson& item : *json) changed |= ScrubTree(&item);
  }
  return changed;
}

// Only where something is to be left out, so that other files keep every byte.
std::string Scrubbed(const std::string& name, std::string text) {
  if (!name.ends_with("_config.json")) return text;
  nlohmann::ordered_json json =
      nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !Scrub(&json)) return text;
  return json.dump(2) + "\n";
}

Status ReadFolder(const std::string& path, ModelFiles* out) {
  std::error_code ignored;
  for (const std::string& name : ModelFileNames(path)) {
    const fs::path file = fs::path(path) / name;
    if (!fs::is_regular_file(file, ignored)) continue;
    Result<std::string> text = ReadWholeFile(file.string());
    if (!text.ok()) {
      return Status(text.status().code(), "[convert] " + file.string() + ": " +
                                              text.status().message());
    }
    out->texts[name] = Scrubbed(name, *std::move(text));
  }
  return Status::Ok();
}

// A vocab.json with its merges.txt goes along as the tokenizer.json that they
// stand for, which needs no class to be read. True: it was made.
bool ComposeTokenizer(const std::string& model_type, ModelFiles* out) {
  const std::string& vocab = out->Text("vocab.json");
  const std::string& merges = out->Text("merges.txt");
  if (vocab.empty() || merges.empty() || !out->Text("tokenizer.json").empty() ||
      !out->Text("tokenizer.model").empty()) {
    return false;
  }
  std::string& text = out->texts["tokenizer_config.json"];
  const Json config = JsonOrNull(text);
  Result<std::string> composed =
      ComposeTokenizerJson(vocab, merges, config, model_type);
  // A fault is said where the tokenizer is opened.
  if (!composed.ok() || (config.is_null() && !text.empty())) {
    if (text.empty()) out->texts.erase("tokenizer_config.json");
    return false;
  }
  auto named = nlohmann::ordered_json::parse(text.empty() ? "{}" : text);
  for (const auto& [name, token] : UsualNames(config, model_type)) {
    named[name] = token;
  }
  text = named.dump(2) + "\n";
  out->texts["tokenizer.json"] = *std::move(composed);
  return true;
}

// Flags of the configuration don't count beside a tokenizer.json.
void AddFrame(const Tokenizer& tokenizer, std::string* json) {
  const auto token = [&](const std::vector<int32_t>& ids) {
    return ids.empty()
               ? FrameToken()
               : FrameToken{std::string(tokenizer.Token(ids[0])), ids[0]};
  };
  if (tokenizer.prefix().empty() && tokenizer.suffix().empty()) return;
  *json =
      WithFrame(*json, token(tokenizer.prefix()), token(tokenizer.suffix()));
}

// One number or a list of them.
std::vector<int> IdsOf(const Json& value) {
  std::vector<int> ids;
  for (const Json& item : value.is_array() ? value : Json::array({value})) {
    if (item.is_number_integer() && item.get<int64_t>() >= 0 &&
        item.get<int64_t>() < (int64_t{1} << 31)) {
      ids.push_back(item.get<int>());
    }
  }
  return ids;
}

// As the verbs find them, and, as transformers does, by generation_config.json
// before the configuration.
std::vector<int> EndIds(const Checkpoint& checkpoint, const ModelFiles& files) {
  std::vector<int> ids;
  const Result<Translation> translated = Translate(checkpoint);
  if (translated.ok()) ids = translated->model->config().eos_ids;
  const Json generation = JsonOrNull(files.Text("generation_config.json"));
  if (generation.is_object() && generation.contains("eos_token_id")) {
    const std::vector<int> given = IdsOf(generation["eos_token_id"]);
    if (!given.empty()) ids = given;
  }
  if (files.tokenizer != nullptr) {
    ModelConfig config;
    config.eos_ids = std::move(ids);
    const std::vector<int32_t> all = StopIds(config, *files.tokenizer);
    ids.assign(all.begin(), all.end());
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace

bool Scrub(nlohmann::ordered_json* json) { return ScrubTree(json); }
void Scrub(nlohmann::json* config) { ScrubTree(config); }

Json JsonOrNull(const std::string& text) {
  if (text.empty()) return nullptr;
  // A tokenizer.json of 260,000 tokens and twice as many merges in pairs holds
  // two million values.
  constexpr size_t kValues = size_t{1} << 24;
  Result<Json> json =
      ParseJson(text, "[convert]", {.non_finite = true, .values = kValues});
  return json.ok() && json->is_object() ? *json : Json();
}

const std::string& ModelFiles::Text(const std::string& name) const {
  static const std::string none;
  const auto found = texts.find(name);
  return found == texts.end() ? none : found->second;
}

Result<ModelFiles> ReadModelFiles(const Checkpoint& checkpoint) {
  ModelFiles out;
  bool composed = false;
  if (checkpoint.gguf() != nullptr) {
    RETURN_IF_ERROR(FilesFromGguf(*checkpoint.gguf(), &out));
  } else if (checkpoint.kind() != CheckpointKind::kSafetensors) {
    RETURN_IF_ERROR(ReadFolder(checkpoint.path(), &out));
    composed = ComposeTokenizer(ModelType(checkpoint.config()), &out);
  }
  Result<std::unique_ptr<Tokenizer>> tokenizer =
      OpenTokenizer(checkpoint, &out.warnings);
  if (tokenizer.ok()) {
    out.tokenizer = *std::move(tokenizer);
    if (composed) AddFrame(*out.tokenizer, &out.texts["tokenizer.json"]);
  } else if (tokenizer.status().code() != StatusCode::kUnsupported) {
    // What is made of GGUF's own keys would cut texts otherwise, unseen.
    if (checkpoint.gguf() != nullptr && !checkpoint.gguf()->Has(kHfTokenizer)) {
      out.texts.erase("tokenizer.json");
      out.texts.erase("tokenizer.model");
    }
    out.losses.push_back("the tokenizer, which is at fault: " +
                         tokenizer.status().message());
  } else if (out.losses.empty()) {
    out.warnings.push_back(
        "the tokenizer goes along as it is, but this program does not read "
        "it: " +
        tokenizer.status().message());
  }
  out.end_ids = EndIds(checkpoint, out);
  return out;
}

std::vector<std::string> ModelFileNames(const std::string& folder) {
  std::vector<std::string> names(std::begin(kNames), std::end(kNames));
  std::error_code ignored;
  for (const auto& entry :
       fs::directory_iterator(fs::path(folder) / kMoreTemplates, ignored)) {
    if (entry.path().extension() != ".jinja") continue;
    names.push_back(std::string(kMoreTemplates) + "/" +
                    entry.path().filename().string());
  }
  return names;
}

}  // namespace intarsia
