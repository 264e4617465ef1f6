#include "intarsia/core/terminal_text.h"

#include <cstdint>
#include <cstdio>

namespace intarsia {
namespace {

// Bytes of the character that `text` begins with, and the character; 0: none.
size_t Character(std::string_view text, uint32_t* out) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  const size_t n = first < 0x80             ? 1
                   : (first & 0xE0) == 0xC0 ? 2
                   : (first & 0xF0) == 0xE0 ? 3
                   : (first & 0xF8) == 0xF0 ? 4
                                            : 0;
  if (n == 0 || n > text.size()) return 0;
  uint32_t c = n == 1 ? first : first & (0xFF >> (n + 1));
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    c = c << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < kLeast[n] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
  *out = c;
  return n;
}

bool Steers(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E ||
         c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

std::string Escape(uint32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  char text[16];
  std::snprintf(text, sizeof(text), c < 0x100 ? "\\x%02x" : "\\u%04x", c);
  return text;
}

// Moves to the beginning of a character at or before `at`.
size_t Boundary(const std::string& text, size_t at) {
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

std::string TerminalLine(std::string_view text,
                         const TerminalTextOptions& options) {
  std::string out;
  while (!text.empty()) {
    uint32_t c = 0;
    const size_t n = Character(text, &c);
    const bool line = options.keep_lines && (c == '\n' || c == '\t');
    if (n == 0) {
      out += Escape(static_cast<uint8_t>(text[0]));
    } else if (Steers(c) && !line) {
      out += Escape(c);
    } else {
      out += text.substr(0, n);
    }
    text.remove_prefix(n == 0 ? 1 : n);
  }
  if (out.size() <= options.most) return out;
  // Messages begin with the file and end with the fault and the remedy.
  const size_t head = Boundary(out, options.most / 2);
  const size_t tail = Boundary(out, out.size() - options.most / 3);
  return out.substr(0, head) + " ... (" + std::to_string(tail - head) +
         " bytes) ... " + out.substr(tail);
}

}  // namespace intarsia
