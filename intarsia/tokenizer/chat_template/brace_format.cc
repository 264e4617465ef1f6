// "{} and {name:>5}".format(…): Python's other way to put values into a text.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <string>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

constexpr int kMaxWidth = 1000;

// [[fill]align][sign][#][0][width][,|_][.precision][kind]
struct Spec {
  std::string fill = " ";
  char align = '\0';  // <, >, ^ or = (between sign and digits)
  char sign = '-';
  bool prefix = false;  // 0x and the like
  int width = 0;
  char grouping = '\0';
  int precision = -1;
  char kind = '\0';
};

int ReadNumber(const std::u32string& text, size_t* at) {
  int number = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    number = number * 10 + static_cast<int>(text[(*at)++] - '0');
    if (number > kMaxWidth) Fail("a format's width is too large");
  }
  return number;
}

Spec ReadSpec(const std::string& spec) {
  const std::u32string text = Characters(spec);
  Spec s;
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < text.size() &&
           std::u32string_view(U"<>^=").find(text[i]) != std::u32string::npos;
  };
  const auto take = [&](char32_t c) {
    const bool there = at < text.size() && text[at] == c;
    at += there ? 1 : 0;
    return there;
  };
  if (is_align(1)) {
    s.fill = FromCharacters({text.data(), 1});
    s.align = static_cast<char>(text[1]);
    at = 2;
  } else if (is_align(0)) {
    s.align = static_cast<char>(text[0]);
    at = 1;
  }
  for (const char sign : {'+', '-', ' '}) {
    if (take(static_cast<char32_t>(sign))) {
      s.sign = sign;
      break;
    }
  }
  s.prefix = take('#');
  if (at < text.size() && text[at] == '0' && s.align == '\0') {
    s.fill = "0";
    s.align = '=';
  }
  s.width = ReadNumber(text, &at);
  for (const char grouping : {',', '_'}) {
    if (take(static_cast<char32_t>(grouping))) s.grouping = grouping;
  }
  if (take('.')) {
    const size_t digits = at;
    s.precision = ReadNumber(text, &at);
    if (at == digits) Fail("format(): a precision is missing");
  }
  if (at < text.size() && text[at] < 0x80) {
    s.kind = static_cast<char>(text[at++]);
  }
  if (at != text.size()) {
    Fail("format(): '" + spec + "' is no format specification");
  }
  return s;
}

// `front` stays at the left of what '=' fills.
std::string Aligned(const Spec& s, char align, const std::string& front,
                    const std::string& text) {
  const auto size = static_cast<int>(CharacterCount(front + text));
  const int pad = std::max(s.width - size, 0);
  const int left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
  const auto fill = [&](int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += s.fill;
    return out;
  };
  return align == '=' ? front + fill(left) + text
                      : fill(left) + front + text + fill(pad - left);
}

// Separators between groups of digits, counted from the end of the whole part.
std::string Grouped(const std::string& digits, char separator, size_t each) {
  const size_t whole = digits.find_first_not_of("0123456789abcdefABCDEF");
  const size_t end = std::min(whole, digits.size());
  std::string out = digits.substr(end);
  for (size_t i = 0; i < end; ++i) {
    if (i > 0 && i % each == 0) out.insert(out.begin(), separator);
    out.insert(out.begin(), digits[end - 1 - i]);
  }
  return out;
}

std::string FormatText(const std::string& text, const Spec& s) {
  if (s.kind != '\0' && s.kind != 's') {
    Fail(std::string("Unknown format code '") + s.kind +
         "' for object of type 'str'");
  }
  if (s.sign != '-' || s.prefix || s.grouping || s.align == '=') {
    Fail("format(): not allowed for a string");
  }
  std::u32string all = Characters(text);
  if (s.precision >= 0 && all.size() > static_cast<size_t>(s.precision)) {
    all.resize(static_cast<size_t>(s.precision));
  }
  return Aligned(s, s.align ? s.align : '<', "", FromCharacters(all));
}

// Sign, groups and filling of the digits of a number.
std::string FormatDigits(bool negative, std::string prefix, std::string digits,
                         const Spec& s, size_t group) {
  std::string front = negative        ? "-"
                      : s.sign == '-' ? ""
                                      : std::string(1, s.sign);
  front += prefix;
  if (s.grouping) {
    digits = Grouped(digits, s.grouping, group);
    // Zeros that fill up get separators too.
    if (s.fill == "0" && s.align == '=') {
      std::string plain = digits;
      plain.erase(std::remove(plain.begin(), plain.end(), s.grouping),
                  plain.end());
      std::string longer = digits;
      while (static_cast<int>(front.size() + longer.size()) < s.width) {
        plain.insert(0, "0");
        longer = Grouped(plain, s.grouping, group);
      }
      digits = longer;
    }
  }
  return Aligned(s, s.align ? s.align : '>', front, digits);
}

std::string FormatFloat(double value, Spec s, bool percent) {
  if (percent) value *= 100;
  const bool negative = std::signbit(value);
  const double size = std::fabs(value);
  char buffer[kMaxWidth + 400];
  std::string digits;
  if (s.kind == '\0' && s.precision < 0) {
    digits = Repr(Value(size));
  } else {
    char kind = s.kind == '\0' || s.kind == 'n' ? 'g' : s.kind;
    int precision = s.precision < 0 ? 6 : s.precision;
    if (percent) kind = 'f';
    const std::string format = std::string(s.prefix ? "%#.*" : "%.*") + kind;
    std::snprintf(buffer, sizeof(buffer), format.c_str(), precision, size);
    digits = buffer;
    // Without a kind there is a digit after the point, as in repr.
    if (s.kind == '\0' && digits.find_first_of(".en") == std::string::npos) {
      digits += ".0";
    }
  }
  if (percent) digits += '%';
  return FormatDigits(negative, "", digits, s, 3);
}

std::string FormatInteger(int64_t value, const Spec& s) {
  const bool negative = value < 0;
  auto rest = negative ? 0 - static_cast<uint64_t>(value)
                       : static_cast<uint64_t>(value);
  const unsigned base = s.kind == 'b'                      ? 2
                        : s.kind == 'o'                    ? 8
                        : (s.kind == 'x' || s.kind == 'X') ? 16
                                                           : 10;
  if (s.precision >= 0) Fail("Precision not allowed in integer format");
  std::string digits;
  do {
    digits.insert(
        digits.begin(),
        (s.kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base]);
    rest /= base;
  } while (rest != 0);
  std::string prefix;
  if (s.prefix && base != 10) prefix = {'0', s.kind};
  return FormatDigits(negative, prefix, digits, s, base == 10 ? 3 : 4);
}

std::string FormatValue(const Value& value, const std::string& spec) {
  if (spec.empty()) return ToText(value);
  const Spec s = ReadSpec(spec);
  if (value.is_string()) return FormatText(value.string(), s);
  if (!value.is_number()) {
    Fail(std::string("unsupported format string passed to ") +
         value.TypeName() + ".__format__");
  }
  if (value.is_bool() && s.kind == '\0') {
    // Python's bool is formatted as an integer once there is a specification.
    return FormatInteger(value.integer(), s);
  }
  constexpr std::string_view kFloat = "eEfFgG%";
  if (!value.is_float() && kFloat.find(s.kind) == std::string_view::npos) {
    if (s.kind == 'c') {
      Spec text = s;
      text.kind = '\0';
      const auto code = static_cast<char32_t>(value.integer());
      if (value.integer() < 0 || value.integer() > 0x10FFFF) {
        Fail("%c arg not in range(0x110000)");
      }
      return Aligned(s, s.align ? s.align : '<', "",
                     FromCharacters({&code, 1}));
    }
    if (s.kind != '\0' &&
        std::string_view("bdonxX").find(s.kind) == std::string_view::npos) {
      Fail(std::string("Unknown format code '") + s.kind +
           "' for object of type 'int'");
    }
    return FormatInteger(value.integer(), s);
  }
  if (s.kind != '\0' && s.kind != 'n' &&
      kFloat.find(s.kind) == std::string_view::npos) {
    Fail(std::string("Unknown format code '") + s.kind +
         "' for object of type 'float'");
  }
  return FormatFloat(value.number(), s, s.kind == '%');
}

// One call of format(): its arguments and where it is in them.
class Formatter {
 public:
  Formatter(Evaluator& e, const Arguments& arguments)
      : e_(e), arguments_(arguments) {}

  // `depth`: a specification may hold fields itself, once.
  std::string Run(const std::string& format, int depth) {
    std::string out;
    for (size_t i = 0; i < format.size(); ++i) {
      const char c = format[i];
      const bool twice = i + 1 < format.size() && format[i + 1] == c;
      if ((c == '{' || c == '}') && twice && depth == 0) {
        out += c;
        ++i;
      } else if (c == '}') {
        Fail("Single '}' encountered in format string");
      } else if (c != '{') {
        out += c;
      } else {
        const size_t close = CloseOf(format, i);
        out += Field(format.substr(i + 1, close - i - 1), depth);
        i = close;
      }
      e_.Step(out.size() / 64);
      if (out.size() > e_.options().limits.output_bytes) {
        Fail("a string is too long");
      }
    }
    return out;
  }

 private:
  static size_t CloseOf(const std::string& format, size_t open) {
    int depth = 0;
    for (size_t i = open; i < format.size(); ++i) {
      if (format[i] == '{') ++depth;
      if (format[i] == '}' && --depth == 0) return i;
    }
    Fail("expected '}' before end of string");
  }

  // name!conversion:specification
  std::string Field(const std::string& field, int depth) {
    if (depth > 1) Fail("Max string recursion exceeded");
    size_t end = 0;
    while (end < field.size() && field[end] != '!' && field[end] != ':') {
      end = field[end] == '[' ? std::min(field.find(']', end), field.size())
                              : end + 1;
    }
    Value value = Named(field.substr(0, end));
    if (end < field.size() && field[end] == '!') {
      const char kind = end + 1 < field.size() ? field[end + 1] : '\0';
      if (kind != 'r' && kind != 's' && kind != 'a') {
        Fail("Unknown conversion specifier " + std::string(1, kind));
      }
      value = Value(kind == 's'   ? ToText(value)
                    : kind == 'r' ? Repr(value)
                                  : AsciiOnly(Repr(value)));
      end += 2;
      if (end < field.size() && field[end] != ':') {
        Fail("expected ':' after conversion specifier");
      }
    }
    const std::string spec = end < field.size() ? field.substr(end + 1) : "";
    return FormatValue(value, Run(spec, depth + 1));
  }

  // "name", "0", "" and what follows: ".attribute", "[item]".
  Value Named(const std::string& path) {
    size_t end = path.find_first_of(".[");
    if (end == std::string::npos) end = path.size();
    Value value = First(path.substr(0, end));
    while (end < path.size()) {
      if (path[end] == '.') {
        const size_t next =
            std::min(path.find_first_of(".[", end + 1), path.size());
        value = e_.Attribute(value, path.substr(end + 1, next - end - 1));
        end = next;
        continue;
      }
      const size_t close = path.find(']', end);
      if (path[end] != '[' || close == std::string::npos) {
        Fail("format(): '" + path + "' is no field");
      }
      const std::string key = path.substr(end + 1, close - end - 1);
      const bool number =
          !key.empty() && key.size() < 10 &&
          key.find_first_not_of("0123456789") == std::string::npos;
      value = e_.Item(value, number ? Value(int64_t{std::stoi(key)}) : key);
      end = close + 1;
    }
    return value;
  }

  Value First(const std::string& name) {
    if (name.find_first_not_of("0123456789") == std::string::npos) {
      const char numbering = name.empty() ? 'a' : 'm';
      if (numbering_ != '\0' && numbering_ != numbering) {
        Fail(
            "cannot switch between manual field specification and automatic "
            "field numbering");
      }
      numbering_ = numbering;
      if (name.size() > 6) Fail("format(): no such argument");
      const size_t index =
          name.empty() ? next_++ : static_cast<size_t>(std::stoi(name));
      if (index < arguments_.positional.size()) {
        return arguments_.positional[index];
      }
      Fail("Replacement index " + std::to_string(index) +
           " out of range for positional args tuple");
    }
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return value;
    }
    Fail("format(): no argument '" + name + "'");
  }

  Evaluator& e_;
  const Arguments& arguments_;
  size_t next_ = 0;
  char numbering_ = '\0';
};

}  // namespace

std::string BraceFormat(Evaluator& e, const std::string& format,
                        const Arguments& arguments) {
  return Formatter(e, arguments).Run(format, 0);
}

}  // namespace intarsia::chat_template
