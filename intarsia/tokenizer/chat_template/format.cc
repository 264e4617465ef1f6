// Python's two ways to put values into a text.
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

Conversion ReadConversion(const std::string& format, size_t* at) {
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
  c.width = ReadNumber(format, at);
  if (*at < format.size() && format[*at] == '.') {
    ++*at;
    c.precision = ReadNumber(format, at);
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

std::string Converted(const Value& value, const Conversion& c) {
  std::string spec = "%" + c.flags;
  if (c.width > 0) spec += std::to_string(c.width);
  if (c.precision >= 0) spec += "." + std::to_string(c.precision);
  char buffer[kMaxWidth * 2 + 400];
  switch (c.kind) {
    case 's':
    case 'r': {
      std::u32string text =
          Characters(c.kind == 's' ? ToText(value) : Repr(value));
      if (c.precision >= 0 && text.size() > static_cast<size_t>(c.precision)) {
        text.resize(static_cast<size_t>(c.precision));
      }
      return Padded(FromCharacters(text), c);
    }
    case 'd':
    case 'i':
    case 'x':
    case 'X':
    case 'o': {
      if (!value.is_number()) {
        Fail(std::string("%") + c.kind + " format: a number is required, not " +
             value.TypeName());
      }
      const bool whole = !value.is_float();
      if (!whole && c.kind != 'd' && c.kind != 'i') {
        Fail("an integer is required");
      }
      const double real = value.number();
      if (!(real > -9.2e18 && real < 9.2e18)) Fail("an integer is too large");
      const int64_t number =
          whole ? value.integer() : static_cast<int64_t>(real);
      if (number < 0 && c.kind != 'd' && c.kind != 'i') {
        Fail("a negative number in a format of base 8 or 16");
      }
      spec += std::string("ll") + c.kind;
      std::snprintf(buffer, sizeof(buffer), spec.c_str(),
                    static_cast<long long>(number));
      return buffer;
    }
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
    const Conversion c = ReadConversion(format, &i);
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

std::string BraceFormat(Evaluator& e, const std::string& format,
                        const Arguments& arguments) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if ((c == '{' || c == '}') && i + 1 < format.size() && format[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    if (c == '}') Fail("Single '}' encountered in format string");
    if (c != '{') {
      out += c;
      continue;
    }
    const size_t close = format.find('}', i);
    if (close == std::string::npos) Fail("expected '}' before end of string");
    const std::string field = format.substr(i + 1, close - i - 1);
    i = close;
    const Value* value = nullptr;
    if (field.find_first_not_of("0123456789") == std::string::npos) {
      if (field.size() > 6) Fail("format(): no such argument");
      const size_t index =
          field.empty() ? next++ : static_cast<size_t>(std::stoi(field));
      if (index < arguments.positional.size()) {
        value = &arguments.positional[index];
      }
    } else if (field.find_first_of(":!.[") != std::string::npos) {
      Fail("format(): '{" + field + "}' is not supported");
    }
    for (const auto& [name, named] : arguments.named) {
      if (name == field) value = &named;
    }
    if (value == nullptr) Fail("format(): no argument '" + field + "'");
    out += ToText(*value);
    e.Step(out.size() / 64);
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  }
  return out;
}

}  // namespace intarsia::chat_template
