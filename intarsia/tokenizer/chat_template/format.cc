// "%s and %d" % values.
#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

constexpr int kMaxWidth = 1000;

// A parsed "%-08.3f".
struct Conversion {
  std::string flags;
  std::string key;
  int width = 0;
  int precision = -1;
  char kind = 's';
};

int ReadNumber(const std::string& text, size_t* at) {
  int number = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    number = number * 10 + (text[(*at)++] - '0');
    if (number > kMaxWidth) Fail("a format's width is too large");
  }
  return number;
}

// `take` gives the next value, for a width or precision of '*'.
template <typename Take>
Conversion ReadConversion(const std::string& format, size_t* at, Take take) {
  Conversion c;
  if (*at < format.size() && format[*at] == '(') {
    const size_t close = format.find(')', *at);
    if (close == std::string::npos) Fail("incomplete format key");
    c.key = format.substr(*at + 1, close - *at - 1);
    *at = close + 1;
  }
  while (*at < format.size() &&
         std::string_view("-+ 0#").find(format[*at]) != std::string::npos) {
    if (c.flags.size() < 8) c.flags += format[*at];
    ++*at;
  }
  const auto number = [&] {
    if (*at == format.size() || format[*at] != '*') {
      return ReadNumber(format, at);
    }
    ++*at;
    const Value value = take();
    if (!value.is_int()) Fail("* wants int");
    if (value.integer() > kMaxWidth || value.integer() < -kMaxWidth) {
      Fail("a format's width is too large");
    }
    return static_cast<int>(value.integer());
  };
  c.width = number();
  if (c.width < 0) {
    c.width = -c.width;
    c.flags += '-';
  }
  if (*at < format.size() && format[*at] == '.') {
    ++*at;
    c.precision = std::max(number(), 0);
  }
  if (*at == format.size()) Fail("incomplete format");
  c.kind = format[(*at)++];
  return c;
}

std::string Padded(std::string text, const Conversion& c) {
  const auto size = static_cast<int>(CharacterCount(text));
  if (size >= c.width) return text;
  const std::string pad(static_cast<size_t>(c.width - size), ' ');
  return c.flags.find('-') == std::string::npos ? pad + text : text + pad;
}

// A character, or the number of one.
std::string OneCharacter(const Value& value) {
  if (value.is_string() && CharacterCount(value.string()) == 1) {
    return value.string();
  }
  if (!value.is_int()) Fail("%c requires int or char");
  const int64_t code = value.integer();
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    Fail("%c arg not in range(0x110000)");
  }
  const auto character = static_cast<char32_t>(code);
  return FromCharacters({&character, 1});
}

std::string ConvertedInteger(const Value& value, const Conversion& c) {
  if (!value.is_number()) {
    Fail(std::string("%") + c.kind + " format: a number is required, not " +
         value.TypeName());
  }
  const bool decimal = c.kind == 'd' || c.kind == 'i' || c.kind == 'u';
  const bool whole = !value.is_float();
  if (!whole && !decimal) Fail("an integer is required");
  const double real = value.number();
  if (!(real > -9.2e18 && real < 9.3e18)) Fail("an integer is too large");
  const int64_t number = whole ? value.integer() : static_cast<int64_t>(real);
  // The digits, then the sign and Python's prefix, then zeros or spaces.
  const auto magnitude = number < 0 ? 0 - static_cast<uint64_t>(number)
                                    : static_cast<uint64_t>(number);
  char digits[kMaxWidth + 40];
  std::snprintf(digits, sizeof(digits),
                decimal         ? "%.*" PRIu64
                : c.kind == 'o' ? "%.*" PRIo64
                : c.kind == 'x' ? "%.*" PRIx64
                                : "%.*" PRIX64,
                std::max(c.precision, 1), magnitude);
  const auto has = [&](char flag) {
    return c.flags.find(flag) != std::string::npos;
  };
  std::string front = number < 0 ? "-" : has('+') ? "+" : has(' ') ? " " : "";
  if (has('#') && !decimal) front += {'0', c.kind};
  std::string text = digits;
  const size_t size = front.size() + text.size();
  if (has('0') && !has('-') && size < static_cast<size_t>(c.width)) {
    text.insert(0, static_cast<size_t>(c.width) - size, '0');
  }
  return Padded(front + text, c);
}

std::string Converted(const Value& value, const Conversion& c) {
  std::string spec = "%" + c.flags;
  if (c.width > 0) spec += std::to_string(c.width);
  if (c.precision >= 0) spec += "." + std::to_string(c.precision);
  char buffer[kMaxWidth * 2 + 400];
  switch (c.kind) {
    case 's':
    case 'r':
    case 'a': {
      std::u32string text =
          Characters(c.kind == 's'   ? ToText(value)
                     : c.kind == 'r' ? Repr(value)
                                     : AsciiOnly(Repr(value)));
      if (c.precision >= 0 && text.size() > static_cast<size_t>(c.precision)) {
        text.resize(static_cast<size_t>(c.precision));
      }
      return Padded(FromCharacters(text), c);
    }
    case 'c':
      return Padded(OneCharacter(value), c);
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
      return ConvertedInteger(value, c);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      if (!value.is_number()) {
        Fail(std::string("must be real number, not ") + value.TypeName());
      }
      spec += c.kind;
      std::snprintf(buffer, sizeof(buffer), spec.c_str(), value.number());
      return buffer;
    default:
      Fail(std::string("unsupported format character '") + c.kind + "'");
  }
}

}  // namespace

std::string PercentFormat(Evaluator& e, const std::string& format,
                          const Value& values) {
  const bool tuple = values.is_list() && values.list().kind == List::kTuple;
  size_t next = 0;
  const auto take = [&]() -> const Value& {
    const size_t count = tuple ? values.list().items.size() : 1;
    if (next >= count) Fail("not enough arguments for format string");
    return tuple ? values.list().items[next++] : (++next, values);
  };
  std::string out;
  for (size_t i = 0; i < format.size();) {
    if (format[i] != '%') {
      out += format[i++];
      continue;
    }
    if (++i < format.size() && format[i] == '%') {
      out += format[i++];
      continue;
    }
    const Conversion c = ReadConversion(format, &i, take);
    if (c.key.empty()) {
      out += Converted(take(), c);
    } else {
      if (!values.is_dict()) Fail("format requires a mapping");
      const Value* value = values.dict().FindName(c.key);
      if (value == nullptr) Fail("format: no key '" + c.key + "'");
      out += Converted(*value, c);
    }
    e.Step(out.size() / 64);
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  }
  if (!values.is_dict() && next < (tuple ? values.list().items.size() : 1)) {
    Fail("not all arguments converted during string formatting");
  }
  return out;
}

}  // namespace intarsia::chat_template
