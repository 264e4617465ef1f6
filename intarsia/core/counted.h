// Numbers of things in messages.
#pragma once

#include <cstdint>
#include <string>

namespace intarsia {

// "1 token", "2 tokens"; of a noun whose plural takes an s.
inline std::string Counted(int64_t count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace intarsia
