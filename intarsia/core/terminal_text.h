// Text that came from files, made fit for a terminal and for a message.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

namespace intarsia {

struct TerminalTextOptions {
  // Bytes; of what is longer the middle goes, and its length is told.
  size_t most = 8000;
  bool keep_lines = false;  // newlines and tabs stay as they are
};

// UTF-8 without control characters, marks that turn the direction of writing
// and line separators, which are written as escapes (\n, \x1b, \u202e). Bytes
// that form no character are written as \xNN.
std::string TerminalLine(std::string_view text,
                         const TerminalTextOptions& options = {});

// A model's words on a terminal, whole.
inline std::string TerminalText(std::string_view text) {
  return TerminalLine(
      text, {.most = std::numeric_limits<size_t>::max(), .keep_lines = true});
}

}  // namespace intarsia
