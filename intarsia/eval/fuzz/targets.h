// What the fuzzer and the replay test do with an input; each throws or crashes
// only on a bug of the reader.
#pragma once

#include <string_view>

namespace intarsia {

// Logits that `perplexity --record` wrote. True: they were read.
bool FuzzRecordedLogits(std::string_view input);

}  // namespace intarsia
