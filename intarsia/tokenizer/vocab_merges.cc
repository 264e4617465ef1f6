#include "intarsia/tokenizer/vocab_merges.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/class_steps.h"
#include "intarsia/tokenizer/json_fields.h"
#include "intarsia/tokenizer/side_files.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr const char* kEndOfText = "<|endoftext|>";

// As transformers 5.24 composes them.
bool IsKnown(const std::string& name) {
  return name == kGpt2Class || name == kQwen2Class;
}

Json Lines(std::string_view text) {
  Json lines = Json::array();
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) lines.push_back(std::string(line));
  }
  return lines;
}

}  // namespace

Result<std::string> ComposeTokenizerJson(std::string_view vocab_json,
                                         std::string_view merges,
                                         const Json& config,
                                         const std::string& model_type) {
  const std::string name = TokenizerClass(config, model_type);
  if (!IsKnown(name)) {
    return Unsupported(
        "vocab.json and merges.txt of an unknown tokenizer_class (known: "
        "GPT2Tokenizer, Qwen2Tokenizer)");
  }
  ASSIGN_OR_RETURN(Json vocab, ParseTokenizerJson(vocab_json));
  RETURN_IF_ERROR(CheckObject(vocab, "the file"));
  RETURN_IF_ERROR(
      BoolField(config, "add_prefix_space", false, "the file").status());
  Json added = Json::array();
  if (const auto end = vocab.find(kEndOfText); end != vocab.end()) {
    added.push_back({{"id", *end},
                     {"content", kEndOfText},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  ClassSteps steps = StepsOfClass(name, config);
  const Json root = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", std::move(steps.normalizer)},
                     {"pre_tokenizer", std::move(steps.pre_tokenizer)},
                     {"post_processor", nullptr},
                     {"decoder",
                      {{"type", "ByteLevel"},
                       {"add_prefix_space", true},
                       {"trim_offsets", true},
                       {"use_regex", true}}},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", ""},
                       {"end_of_word_suffix", ""},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"vocab", std::move(vocab)},
                       {"merges", Lines(merges)}}}};
  return root.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::map<std::string, std::string> UsualNames(const Json& config,
                                              const std::string& model_type) {
  std::map<std::string, std::string> names;
  const bool qwen = TokenizerClass(config, model_type) == kQwen2Class;
  for (const char* name :
       {"eos_token", "unk_token", qwen ? "pad_token" : "bos_token"}) {
    if (!config.contains(name)) names[name] = kEndOfText;
  }
  return names;
}

Result<std::unique_ptr<Tokenizer>> OpenVocabMerges(
    const std::string& folder, const std::string& config_path,
    const std::string& model_type) {
  const std::string source =
      (std::filesystem::path(folder) / "vocab.json").string();
  const std::string merges_path =
      (std::filesystem::path(folder) / "merges.txt").string();
  const Result<std::string> vocab = ReadWholeFile(source);
  if (!vocab.ok()) return TokenizerError(source, vocab.status());
  const Result<std::string> merges = ReadWholeFile(merges_path);
  if (!merges.ok()) return TokenizerError(merges_path, merges.status());
  ASSIGN_OR_RETURN(SideFiles sides, ReadSideFiles(source, config_path));
  const Result<std::string> json =
      ComposeTokenizerJson(*vocab, *merges, sides.config.json, model_type);
  if (!json.ok()) return TokenizerError(source, json.status());
  Json& config = sides.config.json;
  if (config.is_null()) config = Json::object();
  for (const auto& [name, text] : UsualNames(config, model_type)) {
    config[name] = text;
  }
  return BuildJson(*json, sides, source, /*composed=*/true);
}

}  // namespace intarsia
