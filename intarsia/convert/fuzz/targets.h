// What the fuzzer and the replay test do with an input; each throws or crashes
// only on a bug of the reader.
#pragma once

#include <string_view>

namespace intarsia {

// An importance matrix of either form. True: it was read.
bool FuzzImatrix(std::string_view input);

}  // namespace intarsia
