// Byte-level pre-tokenizers of tokenizer.json and their names in GGUF
// (tokenizer.ggml.pre).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace intarsia {

// By what the steps do, of several the one that is as `ignore_merges` says;
// empty: none of those that are known.
std::string NameOfPreTokenizer(const nlohmann::json& pre_tokenizer,
                               bool ignore_merges);

// tokenizer.json's pre_tokenizer for a name; null: not known here.
nlohmann::json PreTokenizerOf(const std::string& name);

// Under this name llama.cpp takes a piece that is a token whole; puts bos
// before a text where the file does not say.
bool IgnoresMerges(const std::string& name);
bool UsuallyAddsBos(const std::string& name);

// tokenizer.json's component.
nlohmann::json ByteLevelStep(bool regex);

}  // namespace intarsia
