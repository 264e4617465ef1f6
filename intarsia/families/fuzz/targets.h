// What the fuzzers and the replay test do with an input: read it as a file
// and, where that succeeds, build the model that it describes. Each throws or
// crashes only on a bug of the reader; true: there is a model.
#pragma once

#include <string_view>

namespace intarsia {

// config.json or intarsia.json. What does not begin with '{' edits a sound
// one: its first byte says which, the others where and what.
bool FuzzModelConfig(std::string_view input);

// A GGUF file, loaded with its tokenizer.
bool FuzzGgufModel(std::string_view input);

// A folder: u16 length and text of config.json, then model.safetensors.
bool FuzzModelFolder(std::string_view input);

}  // namespace intarsia
