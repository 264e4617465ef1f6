// What the fuzzers and the replay test do with an input: read it as a file and,
// where that succeeds, touch everything that it gives access to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace intarsia {

// Each throws or crashes only on a bug of the reader; true: the file was read.
bool FuzzSafetensors(std::span<const std::byte> input);
bool FuzzGguf(std::span<const std::byte> input);
bool FuzzShardIndex(std::span<const std::byte> input);

}  // namespace intarsia
