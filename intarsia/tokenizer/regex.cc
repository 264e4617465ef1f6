#define PCRE2_CODE_UNIT_WIDTH 8
#include "intarsia/tokenizer/regex.h"

#include <pcre2.h>

#include <cctype>
#include <utility>

namespace intarsia {
namespace {

constexpr size_t kMaxPatternBytes = 16384;
constexpr uint32_t kMaxNesting = 100;
constexpr uint32_t kMatchLimit = 1000000;
constexpr uint32_t kHeapLimitKib = 65536;

// PCRE2's \s also holds U+180E, which is no white space since Unicode 6.3, and
// its \w lacks marks and connectors, so both are spelled out. Inside brackets
// the members alone are inserted; there \S and \W stay PCRE2's own.
constexpr std::string_view kSpace = "\\x{9}-\\x{d}\\x{85}\\p{Z}";
constexpr std::string_view kWord = "\\p{L}\\p{M}\\p{N}\\p{Pc}";

std::string TranslatePattern(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escape = pattern[++i];
      const bool space = escape == 's' || escape == 'S';
      const bool word = escape == 'w' || escape == 'W';
      const bool negative = escape == 'S' || escape == 'W';
      if ((space || word) && !(in_class && negative)) {
        const std::string_view members = space ? kSpace : kWord;
        if (!in_class) out += negative ? "[^" : "[";
        out += members;
        if (!in_class) out += ']';
      } else {
        out += c;
        out += escape;
      }
      continue;
    }
    out += c;
    if (!in_class && c == '[') {
      in_class = true;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      // A bracket that closes at once is a member.
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
        out += "\\]";
        ++i;
      }
    } else if (in_class && pattern.substr(i, 2) == "[:") {
      const size_t close = pattern.find(":]", i + 2);
      if (close == std::string_view::npos) continue;
      out += pattern.substr(i + 1, close + 1 - i);
      i = close + 1;
    } else if (in_class && c == ']') {
      in_class = false;
    }
  }
  return out;
}

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const {
    pcre2_compile_context_free(p);
  }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
template <typename T>
using Handle = std::unique_ptr<T, Free>;

}  // namespace

struct Regex::Code {
  Handle<pcre2_code> code;
  Handle<pcre2_match_context> limits;
};

struct Regex::Matcher::Data {
  Handle<pcre2_match_data> match;
};

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("the pattern is longer than " +
                           std::to_string(kMaxPatternBytes) + " bytes");
  }
  const std::string translated = TranslatePattern(pattern);
  Handle<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (!context) throw EngineError("out of memory for a pattern");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Handle<pcre2_code> code(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
      &offset, context.get()));
  if (!code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    return InvalidArgument(
        "bad pattern near \"" +
        translated.substr(0, offset).substr(offset > 20 ? offset - 20 : 0) +
        "\": " + reinterpret_cast<const char*>(message));
  }
  // Without JIT support, the interpreter gives the same matches.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  auto shared = std::make_shared<Code>();
  shared->code = std::move(code);
  shared->limits.reset(pcre2_match_context_create(nullptr));
  if (!shared->limits) throw EngineError("out of memory for a pattern");
  pcre2_set_match_limit(shared->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(shared->limits.get(), kHeapLimitKib);
  Regex regex;
  regex.code_ = std::move(shared);
  return regex;
}

Result<Regex> Regex::Literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(c))
      pattern += '\\';
    pattern += c;
  }
  return Compile(pattern);
}

Regex::Matcher::Matcher(const Regex& regex)
    : regex_(regex), data_(std::make_shared<Data>()) {
  data_->match.reset(pcre2_match_data_create(1, nullptr));
  if (!data_->match) throw EngineError("out of memory for a match");
}

bool Regex::Matcher::Find(std::string_view subject, size_t from, size_t* begin,
                          size_t* end) {
  const Code& code = *regex_.code_;
  pcre2_match_data* match = data_->match.get();
  const auto run = [&](uint32_t options) {
    return pcre2_match(code.code.get(),
                       reinterpret_cast<PCRE2_SPTR>(subject.data()),
                       subject.size(), from, options | PCRE2_NO_UTF_CHECK,
                       match, code.limits.get());
  };
  int rc = run(PCRE2_NOTEMPTY);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    // The interpreter keeps its backtracking points on the heap.
    rc = run(PCRE2_NOTEMPTY | PCRE2_NO_JIT);
  }
  if (rc < 0) return false;
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
  // \K in a lookahead could end a match before it starts, or step back.
  if (range[1] <= range[0] || range[0] < from) return false;
  *begin = range[0];
  *end = range[1];
  return true;
}

}  // namespace intarsia
