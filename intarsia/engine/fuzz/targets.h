// What the fuzzer and the replay test do with an input; each throws or crashes
// only on a bug of the reader.
#pragma once

#include <string_view>

namespace intarsia {

// A saved state, restored into a small model, which then goes on from it.
// True: it fitted.
bool FuzzSessionFile(std::string_view input);

}  // namespace intarsia
