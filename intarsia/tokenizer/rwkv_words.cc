#include "intarsia/tokenizer/rwkv_words.h"

#include <cstdint>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The number that `count` digits at text[at] write, or -1.
int64_t Hex(std::string_view text, size_t at, size_t count) {
  if (at + count > text.size()) return -1;
  int64_t value = 0;
  for (size_t i = at; i < at + count; ++i) {
    const int digit = HexDigit(text[i]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

}  // namespace

std::string UnescapeRwkv(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      if (text[i] != '\\') out += text[i];
      continue;
    }
    const char c = text[++i];
    if (c == 'x') {
      const int64_t byte = Hex(text, i + 1, 2);
      if (byte < 0) continue;
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
    }
  }
  return out;
}

Result<std::string> ParsePythonLiteral(std::string_view literal) {
  const bool bytes = !literal.empty() && literal.front() == 'b';
  if (bytes) literal.remove_prefix(1);
  if (literal.size() < 2 || (literal[0] != '\'' && literal[0] != '"') ||
      literal.back() != literal.front()) {
    return InvalidArgument("is no literal in quotes");
  }
  literal = literal.substr(1, literal.size() - 2);
  std::string out;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\') {
      out += literal[i];
      continue;
    }
    if (++i == literal.size()) return InvalidArgument("ends in a backslash");
    const char c = literal[i];
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      constexpr std::string_view kNames = "tnr\\'\"", kValues = "\t\n\r\\'\"";
      const size_t at = kNames.find(c);
      if (at == std::string_view::npos) {
        return InvalidArgument(std::string("unknown escape \\") + c);
      }
      out += kValues[at];
      continue;
    }
    const int64_t code = Hex(literal, i + 1, digits);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (code < 0 || code > 0x10FFFF || surrogate || (bytes && digits != 2)) {
      return InvalidArgument(std::string("a bad \\") + c + " escape");
    }
    i += digits;
    if (bytes) {
      out += static_cast<char>(code);
    } else {
      AppendUtf8(static_cast<char32_t>(code), &out);
    }
  }
  if (!bytes && !IsValidUtf8(out)) return InvalidArgument("is not UTF-8");
  return out;
}

}  // namespace intarsia
