// Base64 as in RFC 4648, section 4, with padding.
#pragma once

#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

// An error if a character is outside the alphabet or the length is odd.
Result<std::string> DecodeBase64(std::string_view text);

}  // namespace intarsia
