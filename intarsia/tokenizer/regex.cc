#define PCRE2_CODE_UNIT_WIDTH 8
#include "intarsia/tokenizer/regex.h"

#include <pcre2.h>

#include <cctype>
#include <ctime>
#include <utility>

namespace intarsia {
namespace {

constexpr size_t kMaxPatternBytes = 16384;
constexpr uint32_t kMaxNesting = 100;
// A match is tried with few steps first, then with more and more.
constexpr uint32_t kFirstSteps = 512;
constexpr uint32_t kStepsFactor = 4;
constexpr uint32_t kMostSteps = 1u << 31;
constexpr uint32_t kHeapLimitKib = 65536;

// PCRE2's \s also holds U+180E, which is no white space since Unicode 6.3, and
// its \w lacks marks and connectors, so both are spelled out as Oniguruma has
// them. Inside brackets
// the members alone are inserted.
constexpr std::string_view kSpace = "\\x{9}-\\x{d}\\x{85}\\p{Z}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// PCRE2 takes \p{Han} for Script_Extensions, Oniguruma for Script: true if the
// name is that of a script.
bool IsScript(std::string_view name) {
  const std::string pattern = "\\p{sc:" + std::string(name) + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()),
                                   pattern.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

// What an escape at pattern[*i] stands for, with \s and \w spelled out; leaves
// *i at its end. Inside a class, a negative one is for the caller.
std::string TranslateEscape(std::string_view pattern, bool in_class,
                            size_t* i) {
  const char escape = pattern[++*i];
  const bool space = escape == 's' || escape == 'S';
  if (space || escape == 'w' || escape == 'W') {
    const bool negative = escape == 'S' || escape == 'W';
    const std::string members(space ? kSpace : kWord);
    if (in_class) return members;
    return (negative ? "[^" : "[") + members + "]";
  }
  if (!in_class && (escape == 'b' || escape == 'B')) {
    // Where a word character meets another, or the end.
    const std::string word = "[" + std::string(kWord) + "]";
    const std::string inner = escape == 'b' ? "(?!" : "(?=";
    const std::string outer = escape == 'b' ? "(?=" : "(?!";
    return "(?:(?<=" + word + ")" + inner + word + ")|(?<!" + word + ")" +
           outer + word + "))";
  }
  std::string out{'\\', escape};
  const size_t close = pattern.find('}', *i);
  constexpr size_t kLongestName = 40;
  if ((escape == 'p' || escape == 'P') && pattern.substr(*i + 1, 1) == "{" &&
      close != std::string_view::npos && close - *i < kLongestName) {
    std::string_view name = pattern.substr(*i + 2, close - *i - 2);
    const bool negative = !name.empty() && name.front() == '^';
    if (negative) name.remove_prefix(1);
    // Names of one or two letters are categories.
    if (name.size() > 2 && IsScript(name)) {
      out += std::string(negative ? "{^sc:" : "{sc:") + std::string(name) + "}";
      *i = close;
    }
  }
  return out;
}

// Copies the class that begins at pattern[*i] and leaves *i at its end. Of the
// set operations that Oniguruma knows inside brackets, [A&&[^B]] and [A&&[B]]
// are translated, to a lookahead, and [A[B]]; others are refused, since PCRE2
// would read them as characters.
Status TranslateClass(std::string_view pattern, int depth, size_t* i,
                      std::string* out) {
  constexpr int kMaxDepth = 4;
  if (depth > kMaxDepth) return Unsupported("classes nested too deeply");
  std::string members(1, '[');
  std::string conditions, alternatives;
  size_t at = *i + 1;
  if (at < pattern.size() && pattern[at] == '^') members += pattern[at++];
  // A bracket that closes at once is a member.
  if (at < pattern.size() && pattern[at] == ']') {
    members += "\\]";
    ++at;
  }
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    const bool escaped = pattern[at] == '\\' && at + 1 < pattern.size();
    if (escaped && (pattern[at + 1] == 'S' || pattern[at + 1] == 'W')) {
      // Not \w: for [^\W...] a condition, for [\W...] an alternative.
      const std::string inner = TranslateEscape(pattern, true, &at);
      if (members[1] == '^') {
        conditions += "(?=[" + inner + "])";
      } else {
        alternatives += "|[^" + inner + "]";
      }
    } else if (escaped) {
      members += TranslateEscape(pattern, true, &at);
    } else if (pattern.substr(at, 2) == "[:") {
      const size_t close = pattern.find(":]", at + 2);
      if (close == std::string_view::npos) break;
      members += pattern.substr(at, close + 2 - at);
      at = close + 1;
    } else if (pattern.substr(at, 3) == "&&[" && conditions.empty() &&
               alternatives.empty() && members[1] != '^') {
      const bool negative = pattern.substr(at + 3, 1) == "^";
      at += negative ? 3 : 2;
      std::string inner;
      if (negative) {
        // "^" takes the place of the bracket for the recursion's sake.
        const std::string rest = "[" + std::string(pattern.substr(at + 1));
        size_t end = 0;
        RETURN_IF_ERROR(TranslateClass(rest, depth + 1, &end, &inner));
        at += end;
      } else {
        RETURN_IF_ERROR(TranslateClass(pattern, depth + 1, &at, &inner));
      }
      conditions = (negative ? "(?!" : "(?=") + inner + ")";
      if (pattern.substr(at + 1, 1) != "]") {
        return Unsupported("a class goes on after &&[...]");
      }
    } else if (pattern.substr(at, 2) == "&&" || pattern.substr(at, 2) == "[^") {
      return Unsupported("a class within a class, but for [A&&[B]] and [A[B]]");
    } else if (pattern[at] == '[') {
      // The union of both: the members move out.
      std::string inner;
      RETURN_IF_ERROR(TranslateClass(pattern, depth + 1, &at, &inner));
      if (inner.front() != '[' || inner.back() != ']') {
        return Unsupported("a set operation in a class within a class");
      }
      members += inner.substr(1, inner.size() - 2);
    } else {
      members += pattern[at];
    }
  }
  if (at >= pattern.size()) {
    // Unclosed: PCRE2 says so.
    *out += members;
    *i = pattern.size() - 1;
    return Status::Ok();
  }
  // Without members, [] would be an error and [^] too.
  if (members == "[") {
    members = "(?!)";
  } else if (members == "[^") {
    members = "[\\x{0}-\\x{10ffff}]";
  } else {
    members += ']';
  }
  const bool plain = conditions.empty() && alternatives.empty();
  *out += plain ? members : "(?:" + conditions + members + alternatives + ")";
  *i = at;
  return Status::Ok();
}

Result<std::string> TranslatePattern(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      out += TranslateEscape(pattern, false, &i);
    } else if (pattern[i] == '[') {
      RETURN_IF_ERROR(TranslateClass(pattern, 0, &i, &out));
    } else {
      out += pattern[i];
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
};

struct Regex::Matcher::Data {
  Handle<pcre2_match_data> match;
  Handle<pcre2_match_context> limits;
};

MatchBudget::MatchBudget(size_t text_bytes)
    : text_bytes_(text_bytes),
      limit_(0.5 + 5e-6 * static_cast<double>(text_bytes)) {}

bool MatchBudget::Spend(bool now) {
  constexpr int kLookEvery = 64;
  if (spent_) return false;
  if (!now && ++until_look_ < kLookEvery) return true;
  until_look_ = 0;
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  const double seconds = static_cast<double>(time.tv_sec) +
                         1e-9 * static_cast<double>(time.tv_nsec);
  if (start_ < 0) start_ = seconds;
  if (seconds - start_ > limit_) spent_ = true;
  return !spent_;
}

Status MatchBudget::status() const {
  if (!spent_) return Status::Ok();
  return InvalidArgument(
      "[tokenizer] a text of " + std::to_string(text_bytes_) +
      " bytes takes the tokenizer's patterns too long to cut into pieces; "
      "give it in parts");
}

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("the pattern is longer than " +
                           std::to_string(kMaxPatternBytes) + " bytes");
  }
  ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern));
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

Regex::Matcher::Matcher(const Regex& regex, MatchBudget* budget)
    : regex_(regex), budget_(*budget), data_(std::make_shared<Data>()) {
  data_->match.reset(pcre2_match_data_create(1, nullptr));
  data_->limits.reset(pcre2_match_context_create(nullptr));
  if (!data_->match || !data_->limits) {
    throw EngineError("out of memory for a match");
  }
  pcre2_set_heap_limit(data_->limits.get(), kHeapLimitKib);
}

bool Regex::Matcher::Find(std::string_view subject, size_t from, size_t* begin,
                          size_t* end) {
  if (!budget_.Spend(/*now=*/false)) return false;
  const Code& code = *regex_.code_;
  pcre2_match_data* match = data_->match.get();
  uint32_t options = PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK;
  int rc = PCRE2_ERROR_MATCHLIMIT;
  for (uint32_t steps = kFirstSteps;; steps *= kStepsFactor) {
    pcre2_set_match_limit(data_->limits.get(), steps);
    const auto run = [&] {
      return pcre2_match(
          code.code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
          subject.size(), from, options, match, data_->limits.get());
    };
    rc = run();
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      // The interpreter keeps its backtracking points on the heap.
      options |= PCRE2_NO_JIT;
      rc = run();
    }
    if (rc != PCRE2_ERROR_MATCHLIMIT || steps >= kMostSteps / kStepsFactor ||
        !budget_.Spend(/*now=*/true)) {
      break;
    }
  }
  if (rc < 0) {
    if (rc != PCRE2_ERROR_NOMATCH) budget_.GiveUp();
    return false;
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
  // \K in a lookahead could end a match before it starts, or step back.
  if (range[1] <= range[0] || range[0] < from) return false;
  *begin = range[0];
  *end = range[1];
  return true;
}

}  // namespace intarsia
