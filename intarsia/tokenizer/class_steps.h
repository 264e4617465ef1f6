// What a tokenizer class of transformers puts before its model. Files without
// a tokenizer.json need it; beside one, transformers 5.24 lets the class count
// and leaves the file's own steps out, which nothing there says.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "intarsia/core/status.h"

namespace intarsia {

inline constexpr char kGpt2Class[] = "GPT2Tokenizer";
inline constexpr char kLlamaClass[] = "LlamaTokenizer";
inline constexpr char kQwen2Class[] = "Qwen2Tokenizer";

// "tokenizer_class" of a tokenizer_config.json (may be null) without "Fast", or
// what transformers 5.24 takes for a model type; empty: neither says it.
std::string TokenizerClass(const nlohmann::json& config,
                           const std::string& model_type);

// The two fields of a tokenizer.json, by one of the classes above.
struct ClassSteps {
  nlohmann::json normalizer, pre_tokenizer;
};
ClassSteps StepsOfClass(const std::string& name, const nlohmann::json& config);

// Whether a text begins with a space more: as "add_prefix_space" of a
// LlamaTokenizer says, else as its tokenizer.model does (`own`).
Result<bool> DummyPrefix(bool own, const nlohmann::json& config);

// Whether transformers 5.24 opens the tokenizer of such a model by its file
// alone, whatever class the configuration names.
bool ReadsTokenizerWhole(const std::string& model_type);

// Where a class takes the place of what a tokenizer.json says and may cut a
// text otherwise: a sentence that says so; else nothing. `has_byte_level`: the
// file has "ByteLevel" somewhere.
std::string ClassDisagrees(const nlohmann::json& root, bool has_byte_level,
                           const nlohmann::json& config,
                           const std::string& model_type);

}  // namespace intarsia
