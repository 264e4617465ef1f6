// The files beside a model's weights: tokenizer, templates, what generation
// begins and ends with. They go along by name and text, into folders as files,
// into GGUF as metadata.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/convert/gguf_model.h"
#include "intarsia/core/status.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

struct ModelFiles {
  // "tokenizer.json", "additional_chat_templates/rag.jinja", ... → contents.
  std::map<std::string, std::string> texts;
  // What they make together; null: there is none, or it cannot be opened.
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<int> end_ids;           // all that end an answer; ascending
  std::vector<std::string> warnings;  // what other programs will miss
  std::vector<std::string> losses;    // what has no place in the new file
  // The ids or flags of the metadata are not those that the files had.
  bool ids_changed = false;

  const std::string& Text(const std::string& name) const;
};

// Of a folder, as they lie there; of GGUF, from the metadata.
Result<ModelFiles> ReadModelFiles(const Checkpoint& checkpoint);

// tokenizer.*, general.sampling.* and the files whole, as far as GGUF has no
// place for what they say. `vocab_size`: rows of the token table; 0: unknown.
void FilesToGguf(const ModelFiles& files, const nlohmann::json& config,
                 int64_t vocab_size, GgufModel* out);

// The files that GGUF metadata gives.
Status FilesFromGguf(const GgufMetadata& metadata, ModelFiles* out);

// The names under which such files lie in a folder, those of its templates
// with them; not all are there.
std::vector<std::string> ModelFileNames(const std::string& folder);

// Without what makes another library run code of others or look for files that
// stay behind: auto_map, custom_pipelines, paths of the machine it came from.
// True: something was taken out.
bool Scrub(nlohmann::ordered_json* json);
void Scrub(nlohmann::json* config);

// generation_config.json, or tokenizer_config.json, as an object; null where it
// is none.
nlohmann::json JsonOrNull(const std::string& text);

}  // namespace intarsia
