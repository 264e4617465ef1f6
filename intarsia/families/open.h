// A model a user names, opened whole: weights, configuration and tokenizer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/families/load.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

struct OpenedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  LoadedModel loaded;
  std::unique_ptr<Tokenizer> tokenizer;  // null: the checkpoint has none
  size_t packed_bytes = 0;               // of weights packed for this CPU
  Model& model() const { return *loaded.model; }
};

// `name`: a folder, a .gguf or .safetensors file, or the name of a pulled
// model. Weights end on `device`.
Result<OpenedModel> OpenModel(const std::string& name,
                              const LoadOptions& options = {},
                              Device device = {});

// "model_type" of a config.json; empty where there is none.
std::string ModelType(const nlohmann::json& config);

// The tokenizer that a checkpoint carries; null where it has none. What of it
// does not count is said in `warnings`, which may be null.
Result<std::unique_ptr<Tokenizer>> OpenTokenizer(
    const Checkpoint& checkpoint, std::vector<std::string>* warnings = nullptr);

}  // namespace intarsia
