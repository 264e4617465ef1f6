// What a checkpoint's configuration and the names of its tensors say of the
// model, before any weight is read.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"
#include "intarsia/families/family.h"
#include "intarsia/model/model.h"

namespace intarsia {

struct Translation {
  std::string family;            // "llama", or "intarsia" for native folders
  std::unique_ptr<Model> model;  // without weights
  // All that the family knows, under published names.
  std::vector<std::vector<TensorMap>> layouts;
  // The layout that the file has, under the file's names. Where they are not
  // there, under those that the file would have for them.
  std::vector<TensorMap> tensors;
  // Names of the file that are not the published ones, and those.
  std::map<std::string, std::string> published;
  // The file has tensors of the first layout; else fewer or more, of which
  // parts are those.
  bool cut_as_published = true;
  // config.json (of the language model, where it has several parts) as the
  // tensors have it: "tie_word_embeddings" says what is computed. GGUF: its
  // metadata.
  nlohmann::json config;
  std::vector<std::string> warnings;
  // What belongs to the model and is not used: names of tensors, as the file
  // has them, and fields of the configuration that change what is computed.
  std::vector<std::string> unused_tensors, unused_fields;

  // The published name of a tensor of the file.
  const std::string& Published(const std::string& name) const {
    const auto found = published.find(name);
    return found == published.end() ? name : found->second;
  }
};

// Refuses families that are not known and configurations at fault. A head that
// differs from the table counts, whatever the configuration says of ties; a
// head without a table is the table where they are tied. Biases of attention
// and of gated units count wherever the file has them.
Result<Translation> Translate(const Checkpoint& checkpoint);

// The model of a config.json, or of an intarsia.json, with the tensors that its
// family publishes. `path` is named in messages.
Result<ModelConfig> ConfigOfFile(const std::string& path);

// What a config.json alone says against opening the model: its family is not
// known, its weights are quantised by a method that is not read. `where` begins
// the message, behind "[load] ".
Status CheckConfig(const nlohmann::json& config, const std::string& where);

// Whether Translate knows the family; native folders too.
bool KnowsFamily(const Checkpoint& checkpoint);

// An error that names what is not used; with `allow`, warnings instead.
Status CheckUnused(const Checkpoint& checkpoint, bool allow,
                   Translation* translated);

}  // namespace intarsia
