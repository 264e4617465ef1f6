// The files that lie beside a tokenizer.json or a tokenizer.model:
// tokenizer_config.json, special_tokens_map.json, added_tokens.json and the
// chat templates in files of their own.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "intarsia/checkpoint/json_input.h"
#include "intarsia/core/status.h"
#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

struct SideFile {
  std::string source;   // its name, for errors
  nlohmann::json json;  // null: there is none
  // Names in the order of the file: those of the object itself that end in
  // "_token", and those of the objects extra_special_tokens and
  // model_specific_special_tokens.
  std::vector<std::string> names, extra_names;
};

struct SideFiles {
  SideFile config;              // tokenizer_config.json
  SideFile special_tokens_map;  // of older libraries
  SideFile added_tokens;        // of older libraries
  // Templates that lie in files of their own.
  struct Template {
    std::string name, text, source;
  };
  std::vector<Template> templates;
  // They lie in a folder, which other libraries open too.
  bool in_folder = false;
  std::string model_type;  // of the model's config.json; empty: not known
};

// What lies in the folder of `tokenizer_path`. `config_path` may be empty.
// Templates: chat_template.jinja and additional_chat_templates/NAME.jinja,
// which come before those of the same name in the configuration, and
// chat_template.json, which counts where there is no other.
Result<SideFiles> ReadSideFiles(const std::string& tokenizer_path,
                                const std::string& config_path);

// A configuration alone; its text may be empty.
Result<SideFiles> SideFilesFromConfig(std::string_view config_json,
                                      const std::string& source);

// The three files by their texts; empty: there is none.
Result<SideFiles> SideFilesFromTexts(std::string_view config,
                                     std::string_view special_tokens_map,
                                     std::string_view added_tokens,
                                     const std::string& source);

// Hands a tokenizer's templates to the builder.
Status AddChatTemplates(const SideFiles& files, TokenizerBuilder* builder);

// FromJson and FromRwkvVocab with the files beside them. `composed`: the text
// was made of other files and says nothing of what begins and ends a text.
Result<std::unique_ptr<Tokenizer>> BuildJson(std::string_view text,
                                             const SideFiles& sides,
                                             const std::string& source,
                                             bool composed = false);
Result<std::unique_ptr<Tokenizer>> BuildRwkv(std::string_view text,
                                             const SideFiles& sides,
                                             const std::string& source);

// Untrusted text, less the parts that are too large for a tree.
Result<nlohmann::json> ParseTokenizerJson(std::string_view text,
                                          std::span<JsonPart> parts = {});
// A whole file. What is another format or a Git LFS pointer is InvalidArgument
// and named.
Result<std::string> ReadWholeFile(const std::string& path);

// "[tokenizer] source: why".
Status TokenizerError(const std::string& source, const Status& status);

}  // namespace intarsia
