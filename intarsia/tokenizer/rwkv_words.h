// How RWKV's vocabularies write bytes as text.
#pragma once

#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

// As GGUF files have them: \t \n \r \xHH, and any other character after a
// backslash for itself.
std::string UnescapeRwkv(std::string_view text);

// A literal of Python, 'text' or b'bytes' in either quote, as repr writes it:
// its UTF-8, or its bytes.
Result<std::string> ParsePythonLiteral(std::string_view literal);

}  // namespace intarsia
