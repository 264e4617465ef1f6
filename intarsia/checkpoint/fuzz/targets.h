// What the fuzzers and the replay test do with an input: read it as a file and,
// where that succeeds, touch everything that it gives access to. Each throws or
// crashes only on a bug of the reader; true: the file was read.
#pragma once

#include <string_view>

namespace intarsia {

bool FuzzSafetensors(std::string_view input);
bool FuzzGguf(std::string_view input);
bool FuzzShardIndex(std::string_view input);

// The first byte is the depth limit, its top bit whether non-finite numbers are
// read; the rest is JSON.
bool FuzzJson(std::string_view input);

// A folder of files, opened as a checkpoint: records of a byte (which name), a
// u16 length and so many bytes.
bool FuzzCheckpointFolder(std::string_view input);

}  // namespace intarsia
