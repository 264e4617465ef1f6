// Tokenizers that lie in a folder as vocab.json and merges.txt, without a
// tokenizer.json: which parts go around them only the name of their class says.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

// The tokenizer.json that the two files stand for. Unsupported where neither
// the "tokenizer_class" of the configuration (may be null) nor, where it has
// none, `model_type` is of a known kind (GPT-2's, Qwen's).
Result<std::string> ComposeTokenizerJson(std::string_view vocab_json,
                                         std::string_view merges,
                                         const nlohmann::json& config,
                                         const std::string& model_type);

// What the class calls its tokens where the configuration (may be null) is
// silent: names, each with its text.
std::map<std::string, std::string> UsualNames(const nlohmann::json& config,
                                              const std::string& model_type);

// Opens the two files of a folder with what lies beside them. `config_path`
// may be empty. Errors name the file.
Result<std::unique_ptr<Tokenizer>> OpenVocabMerges(
    const std::string& folder, const std::string& config_path,
    const std::string& model_type);

}  // namespace intarsia
