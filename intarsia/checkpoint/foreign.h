// What a file is that is not what its reader expected.
#pragma once

#include <string>
#include <string_view>

namespace intarsia {

// "is a Git LFS pointer, not the file itself (...): ...", with the remedy: text
// for a message after the file's name. Knows pointers, archives, pickles, pages
// of servers and the formats of other programs by their first bytes. Empty for
// everything else, also for GGUF, safetensors, JSON and plain text.
std::string ForeignFile(std::string_view bytes);

// As ForeignFile, for a reader of binary weights: also names an empty file, one
// that begins with zeros, GGUF, safetensors, JSON and other text.
std::string NotWeights(std::string_view bytes);

}  // namespace intarsia
