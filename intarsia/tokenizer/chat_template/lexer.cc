#include "intarsia/tokenizer/chat_template/lexer.h"

#include <algorithm>
#include <cctype>

#include "intarsia/tokenizer/chat_template/text.h"
#include "intarsia/tokenizer/chat_template/value.h"

namespace intarsia::chat_template {
namespace {

// The longest template in use has some ten thousand. Tokens and the syntax tree
// take up to 200 bytes for one byte of the template.
constexpr size_t kMaxTokens = size_t{1} << 18;

// \r\n and \r become \n; one newline at the end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsNameStart(char c) {
  return c == '_' || std::isalpha(static_cast<unsigned char>(c)) ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool IsDigitChar(char c) { return c >= '0' && c <= '9'; }

// Of a hexadecimal digit; 99 of anything else.
int DigitOf(char c) {
  return IsDigitChar(c)         ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : 99;
}

bool IsNameChar(char c) { return IsNameStart(c) || IsDigitChar(c); }

class Lexer {
 public:
  explicit Lexer(std::string_view source)
      : normalized_(NormalizeNewlines(source)), source_(normalized_) {}

  std::vector<Token> Run() {
    while (at_ < source_.size()) ReadText();
    Add(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Error(const std::string& message) {
    Fail("line " + std::to_string(line_) + ": " + message);
  }

  void Add(Token::Type type, std::string text) {
    if (tokens_.size() == kMaxTokens) {
      Error("the template has more than " + std::to_string(kMaxTokens) +
            " tokens");
    }
    tokens_.push_back({type, std::move(text), line_});
  }

  // Moves on, counting lines.
  void Advance(size_t bytes) {
    const auto begin = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    line_ += static_cast<int>(
        std::count(begin, begin + static_cast<std::ptrdiff_t>(bytes), '\n'));
    at_ += bytes;
  }

  bool LooksAt(std::string_view text) const {
    return source_.substr(at_, text.size()) == text;
  }

  void SkipSpace() {
    while (at_ < source_.size()) {
      const Utf8Step step = NextUtf8(source_.substr(at_));
      if (!IsSpace(step.code)) return;
      Advance(step.length);
    }
  }

  // Text in front of a tag, as the tag's sign and the line want it.
  std::string_view TrimBefore(std::string_view text, char sign, bool block) {
    if (sign == '-') {
      while (!text.empty()) {
        const size_t last = LastUtf8Start(text);
        if (!IsSpace(NextUtf8(text.substr(last)).code)) break;
        text = text.substr(0, last);
      }
      return text;
    }
    if (sign == '+' || !block) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) return text;
    // jinja2 asks for at least one character of white space here.
    for (size_t i = line; i < text.size();) {
      const Utf8Step step = NextUtf8(text.substr(i));
      if (!IsSpace(step.code)) return text;
      i += step.length;
    }
    return text.substr(0, line);
  }

  static char SignAt(std::string_view text, size_t at) {
    return at < text.size() && (text[at] == '-' || text[at] == '+') ? text[at]
                                                                    : '\0';
  }

  void ReadText() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= source_.size()) {
        AddText(source_.substr(at_));
        Advance(source_.size() - at_);
        return;
      }
      const char kind = source_[tag + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    const char sign = SignAt(source_, tag + 2);
    AddText(TrimBefore(source_.substr(at_, tag - at_), sign, kind != '{'));
    Advance(tag - at_ + 2 + (sign ? 1 : 0));
    line_starting_ = false;
    if (kind == '#') {
      ReadComment();
    } else if (kind == '%' && ReadRaw()) {
      return;
    } else {
      Add(kind == '{' ? Token::kVariableBegin : Token::kBlockBegin, "");
      ReadTag(kind == '%');
    }
  }

  void AddText(std::string_view text) {
    if (!text.empty()) Add(Token::kText, std::string(text));
  }

  void ReadComment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) Error("Missing end of comment tag");
    const char sign = end > at_ ? SignAt(source_, end - 1) : '\0';
    Advance(end + 2 - at_);
    AfterBlock(sign);
  }

  // What a block's or comment's end swallows.
  void AfterBlock(char sign) {
    if (sign == '-') {
      const size_t before = at_;
      SkipSpace();
      line_starting_ = at_ > before && source_[at_ - 1] == '\n';
    } else if (sign != '+' && LooksAt("\n")) {
      Advance(1);
      line_starting_ = true;
    } else {
      line_starting_ = false;
    }
  }

  // A name from `at` on with white space around it; where it ends, or 0.
  size_t MatchWord(size_t at, std::string_view word) const {
    const auto skip = [&] {
      while (at < source_.size() &&
             std::isspace(static_cast<unsigned char>(source_[at]))) {
        ++at;
      }
    };
    skip();
    if (source_.substr(at, word.size()) != word) return 0;
    at += word.size();
    skip();
    return at;
  }

  // After "{%": a raw block, if it is one.
  bool ReadRaw() {
    size_t body = MatchWord(at_, "raw");
    if (body == 0) return false;
    if (source_.substr(body, 3) == "-%}") {
      body += 3;
      while (body < source_.size() &&
             std::isspace(static_cast<unsigned char>(source_[body]))) {
        ++body;
      }
    } else if (source_.substr(body, 2) == "%}") {
      body += 2;
    } else {
      return false;
    }
    Advance(body - at_);
    line_starting_ = body > 0 && source_[body - 1] == '\n';
    if (at_ == source_.size()) return true;  // as jinja2 has it
    for (size_t tag = at_;
         (tag = source_.find("{%", tag)) != std::string_view::npos; ++tag) {
      const char sign = SignAt(source_, tag + 2);
      size_t end = MatchWord(tag + 2 + (sign ? 1 : 0), "endraw");
      if (end == 0) continue;
      const char end_sign = SignAt(source_, end);
      if (end_sign) ++end;
      if (source_.substr(end, 2) != "%}") continue;
      AddText(TrimBefore(source_.substr(at_, tag - at_), sign, true));
      Advance(end + 2 - at_);
      AfterBlock(end_sign);
      return true;
    }
    Error("Missing end of raw directive");
  }

  // The tokens of a tag, to its end; within brackets an end is an operator.
  void ReadTag(bool block) {
    const std::string_view end = block ? "%}" : "}}";
    std::string open;
    while (at_ < source_.size()) {
      if (open.empty()) {
        const char sign = SignAt(source_, at_);
        const bool signed_end =
            sign && (block || sign == '-') && source_.substr(at_ + 1, 2) == end;
        if (signed_end || LooksAt(end)) {
          Add(block ? Token::kBlockEnd : Token::kVariableEnd, "");
          Advance(signed_end ? 3 : 2);
          if (block) {
            AfterBlock(signed_end ? sign : '\0');
          } else if (signed_end) {
            const size_t before = at_;
            SkipSpace();
            line_starting_ = at_ > before && source_[at_ - 1] == '\n';
          } else {
            line_starting_ = false;
          }
          return;
        }
      }
      const size_t before = at_;
      SkipSpace();
      if (at_ == before) ReadToken(&open);
    }
    Error("Unexpected end of template inside a tag");
  }

  void ReadToken(std::string* open) {
    const char c = source_[at_];
    if (IsDigitChar(c)) return ReadNumber();
    if (IsNameStart(c)) {
      size_t end = at_;
      while (end < source_.size() && IsNameChar(source_[end])) ++end;
      Add(Token::kName, std::string(source_.substr(at_, end - at_)));
      return Advance(end - at_);
    }
    if (c == '"' || c == '\'') return ReadString();
    for (const std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (LooksAt(op)) {
        Add(Token::kOperator, std::string(op));
        return Advance(2);
      }
    }
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(c) ==
        std::string_view::npos) {
      Error(std::string("unexpected char '") + c + "'");
    }
    if (c == '(' || c == '[' || c == '{') {
      *open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) {
        Error(std::string("unexpected '") + c + "'");
      }
      open->pop_back();
    }
    Add(Token::kOperator, std::string(1, c));
    Advance(1);
  }

  // Digits, single underscores between them.
  size_t SkipDigits(size_t at) const {
    while (at < source_.size() &&
           (IsDigitChar(source_[at]) ||
            (source_[at] == '_' && at + 1 < source_.size() &&
             IsDigitChar(source_[at + 1])))) {
      ++at;
    }
    return at;
  }

  // "0x1F", "0b1", "0o7".
  bool ReadPrefixed() {
    const char kind = at_ + 1 < source_.size()
                          ? static_cast<char>(source_[at_ + 1] | 0x20)
                          : '\0';
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (source_[at_] != '0' || base == 0) return false;
    int64_t value = 0;
    size_t end = at_ + 2, digits = 0;
    for (; end < source_.size(); ++end) {
      if (source_[end] == '_') continue;
      const int digit = DigitOf(source_[end]);
      if (digit >= base) break;
      ++digits;
      if (__builtin_mul_overflow(value, base, &value) ||
          __builtin_add_overflow(value, digit, &value)) {
        Error("an integer is too large");
      }
    }
    if (digits == 0) return false;
    Add(Token::kInteger, std::to_string(value));
    Advance(end - at_);
    return true;
  }

  void ReadNumber() {
    if (ReadPrefixed()) return;
    size_t end = SkipDigits(at_);
    bool real = false;
    // "a.0.5" is two subscripts.
    const bool subscript = at_ > 0 && source_[at_ - 1] == '.';
    const auto digit_at = [&](size_t at) {
      return at < source_.size() && IsDigitChar(source_[at]);
    };
    if (!subscript && end < source_.size() && source_[end] == '.' &&
        digit_at(end + 1)) {
      real = true;
      end = SkipDigits(end + 1);
    }
    if (!subscript && end < source_.size() &&
        (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (SignAt(source_, exponent)) ++exponent;
      if (digit_at(exponent)) {
        real = true;
        end = SkipDigits(exponent);
      }
    }
    if (!real && source_[at_] == '0') {  // zeros are a number of their own
      const size_t other = source_.find_first_not_of("0_", at_);
      if (other < end) end = other;
    }
    std::string text(source_.substr(at_, end - at_));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    Add(real ? Token::kFloat : Token::kInteger, std::move(text));
    Advance(end - at_);
  }

  void ReadString() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) {
      end += source_[end] == '\\' ? 2 : 1;
    }
    if (end >= source_.size()) Error("unexpected end of a string");
    Add(Token::kString, Unescape(source_.substr(at_ + 1, end - at_ - 1)));
    Advance(end + 1 - at_);
  }

  // Up to `most` digits of `base` from *at; false if there are fewer than
  // `least`.
  static bool ReadCode(std::string_view text, size_t* at, int base,
                       size_t least, size_t most, char32_t* code) {
    size_t digits = 0;
    *code = 0;
    while (digits < most && *at < text.size()) {
      const int value = DigitOf(text[*at]);
      if (value >= base) break;
      *code = *code * base + static_cast<char32_t>(value);
      ++*at;
      ++digits;
    }
    return digits >= least;
  }

  // Python's escapes; an unknown one stays as it is.
  std::string Unescape(std::string_view text) {
    constexpr std::string_view kFrom = "\\'\"abfnrtv";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      const size_t simple = kFrom.find(c);
      if (simple != std::string_view::npos) {
        out += kTo[simple];
        continue;
      }
      if (c == '\n') continue;
      char32_t code = 0;
      size_t at = i;
      bool known = true;
      if (c >= '0' && c <= '7') {
        ReadCode(text, &at, 8, 1, 3, &code);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        at = i + 1;
        if (!ReadCode(text, &at, 16, digits, digits, &code)) {
          Error("a string has a bad escape");
        }
      } else {
        known = false;
      }
      if (!known) {
        out += '\\';
        out += c;
        continue;
      }
      const bool scalar = code < 0xD800 || (code > 0xDFFF && code < 0x110000);
      AppendUtf8(scalar ? code : kReplacementCharacter, &out);
      i = at - 1;
    }
    return out;
  }

  std::string normalized_;
  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag's text ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) {
  return Lexer(source).Run();
}

}  // namespace intarsia::chat_template
