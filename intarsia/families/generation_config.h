// generation_config.json: what ends an answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"
#include "intarsia/model/config.h"

namespace intarsia {

// Where GGUF files of ours keep the file.
inline constexpr char kGenerationConfig[] = "intarsia.generation_config";

// Adds the eos_token_id (a number or a list of them) of a
// generation_config.json to config->eos_ids, and its stop_strings (a text or a
// list of them) to config->stop_texts. An id that the model can't give is a
// warning; what is neither is an error, which names `path`.
Status AddGenerationEnds(std::string_view text, const std::string& path,
                         ModelConfig* config,
                         std::vector<std::string>* warnings);

// The same from a file; nothing where `path` is empty. What is another format
// or a Git LFS pointer is an error that says so.
Status ReadGenerationConfig(const std::string& path, ModelConfig* config,
                            std::vector<std::string>* warnings);

// The stop_strings that a GGUF file of ours keeps; ids have keys of their own.
Status ReadStopTexts(const GgufMetadata& metadata, const std::string& path,
                     ModelConfig* config);

}  // namespace intarsia
