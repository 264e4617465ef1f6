// Methods of strings.
#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

Value StripSides(Evaluator& e, const Value& v, Arguments& a, bool left,
                 bool right) {
  const Bound bound("strip", a, {"chars"});
  const bool given = bound.Get(0) && !bound.Get(0)->is_none();
  const std::string set = given ? bound.Text(0) : "";
  return e.Text(Strip(v.string(), given ? &set : nullptr, left, right));
}

Value SplitEither(Evaluator& e, const Value& v, Arguments& a, bool right) {
  const Bound bound("split", a, {"sep", "maxsplit"});
  const bool given = bound.Get(0) && !bound.Get(0)->is_none();
  const std::string separator = given ? bound.Text(0) : "";
  if (given && separator.empty()) Fail("empty separator");
  e.Step(v.string().size() * 8);
  std::vector<std::string> parts =
      (right ? SplitRight : Split)(v.string(), separator, bound.Int(1, -1));
  std::vector<Value> values;
  for (std::string& part : parts) values.emplace_back(std::move(part));
  return e.NewList(std::move(values));
}

Value SplitLinesMethod(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("splitlines", a, {"keepends"});
  e.Step(v.string().size());
  std::vector<Value> values;
  for (std::string& line : SplitLines(v.string(), bound.Flag(0, false))) {
    values.emplace_back(std::move(line));
  }
  return e.NewList(std::move(values));
}

// The part of a text between the positions that the arguments `at` and
// `at` + 1 name, as a slice would; nothing if it begins past its end.
struct Span {
  bool valid = true;
  size_t begin = 0;  // in characters
  std::string text;
};
Span SpanOf(const std::string& text, const Bound& bound, size_t at) {
  const auto given = [&](size_t i) {
    return bound.Get(i) && !bound.Get(i)->is_none();
  };
  if (!given(at) && !given(at + 1)) return {true, 0, text};
  const std::u32string all = Characters(text);
  const auto size = static_cast<int64_t>(all.size());
  const auto position = [&](size_t i, int64_t fallback) {
    if (!given(i)) return fallback;
    const int64_t p = bound.Int(i, 0);
    return p < 0 ? std::max<int64_t>(p + size, 0) : p;
  };
  const int64_t begin = position(at, 0);
  const int64_t end = std::min(position(at + 1, size), size);
  if (begin > end) return {false, 0, ""};
  const auto from = static_cast<size_t>(begin);
  return {true, from,
          FromCharacters(std::u32string_view(all).substr(
              from, static_cast<size_t>(end - begin)))};
}

bool HasPrefix(const std::string& text, const std::string& affix) {
  return text.compare(0, affix.size(), affix) == 0;
}

bool HasSuffix(const std::string& text, const std::string& affix) {
  return text.size() >= affix.size() &&
         text.compare(text.size() - affix.size(), affix.size(), affix) == 0;
}

// One text or a tuple of them at an end of the text.
Value HasAffix(const Value& v, Arguments& a, const char* what,
               bool (*matches)(const std::string&, const std::string&)) {
  const Bound bound(what, a, {"affix", "start", "end"}, 1);
  const Value& affix = *bound.Get(0);
  const Span span = SpanOf(v.string(), bound, 1);
  if (!affix.is_list() || affix.list().kind != List::kTuple) {
    return matches(span.text, RequireText(affix, what)) && span.valid;
  }
  const auto& items = affix.list().items;
  return std::any_of(items.begin(), items.end(), [&](const Value& item) {
    return matches(span.text, RequireText(item, what)) && span.valid;
  });
}

Value StartsWith(Evaluator&, const Value& v, Arguments& a) {
  return HasAffix(v, a, "startswith", HasPrefix);
}

Value EndsWith(Evaluator&, const Value& v, Arguments& a) {
  return HasAffix(v, a, "endswith", HasSuffix);
}

Value RemovePrefix(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("removeprefix", a, {"prefix"}, 1);
  const std::string affix = bound.Text(0);
  const std::string& text = v.string();
  return e.Text(HasPrefix(text, affix) ? text.substr(affix.size()) : text);
}

Value RemoveSuffix(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("removesuffix", a, {"suffix"}, 1);
  const std::string affix = bound.Text(0);
  const std::string& text = v.string();
  return e.Text(HasSuffix(text, affix)
                    ? text.substr(0, text.size() - affix.size())
                    : text);
}

Value Replace(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"}, 2);
  const std::string old = bound.Text(0), fresh = bound.Text(1);
  int64_t left =
      bound.Get(2) && bound.Get(2)->is_none() ? -1 : bound.Int(2, -1);
  std::string_view text = v.string();
  std::string out;
  const auto grow = [&](std::string_view part) {
    out += part;
    e.Step(part.size());
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  };
  if (old.empty()) {  // before every character and at the end
    for (const char32_t c : Characters(text)) {
      if (left != 0) {
        grow(fresh);
        --left;
      }
      AppendUtf8(c, &out);
    }
    if (left != 0) grow(fresh);
    return e.Text(std::move(out));
  }
  while (left != 0) {
    const size_t at = text.find(old);
    if (at == std::string_view::npos) break;
    grow(text.substr(0, at));
    grow(fresh);
    text.remove_prefix(at + old.size());
    --left;
  }
  grow(text);
  return e.Text(std::move(out));
}

// The character position of what is looked for, -1 if it is not there.
int64_t PositionOf(Evaluator& e, const Value& v, Arguments& a, bool last) {
  const Bound bound(last ? "rfind" : "find", a, {"sub", "start", "end"}, 1);
  const std::string part = bound.Text(0);
  const Span span = SpanOf(v.string(), bound, 1);
  e.Step(span.text.size());
  const size_t byte = last ? span.text.rfind(part) : span.text.find(part);
  if (byte == std::string::npos || !span.valid) return -1;
  return static_cast<int64_t>(
      span.begin + CharacterCount(std::string_view(span.text).substr(0, byte)));
}

Value Find(Evaluator& e, const Value& v, Arguments& a) {
  return PositionOf(e, v, a, false);
}
Value FindRight(Evaluator& e, const Value& v, Arguments& a) {
  return PositionOf(e, v, a, true);
}

Value Found(int64_t position) {
  if (position < 0) Fail("substring not found");
  return position;
}
Value Index(Evaluator& e, const Value& v, Arguments& a) {
  return Found(PositionOf(e, v, a, false));
}
Value IndexRight(Evaluator& e, const Value& v, Arguments& a) {
  return Found(PositionOf(e, v, a, true));
}

Value Count(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("count", a, {"sub", "start", "end"}, 1);
  const std::string part = bound.Text(0);
  const Span span = SpanOf(v.string(), bound, 1);
  e.Step(span.text.size());
  if (!span.valid) return int64_t{0};
  if (part.empty()) return static_cast<int64_t>(CharacterCount(span.text) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = span.text.find(part, at)) != std::string::npos;
       at += part.size()) {
    ++count;
  }
  return count;
}

Value Join(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("join", a, {"iterable"}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : e.Iterate(*bound.Get(0))) {
    if (!first) out += v.string();
    first = false;
    out += RequireText(item, "join(): an item");
    e.Step(out.size() / 64);
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  }
  return e.Text(std::move(out));
}

Value PartitionEither(Evaluator& e, const Value& v, Arguments& a, bool right) {
  const Bound bound("partition", a, {"sep"}, 1);
  const std::string separator = bound.Text(0);
  if (separator.empty()) Fail("empty separator");
  const std::string& text = v.string();
  const size_t at = right ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    return right ? e.NewList({"", "", v}, List::kTuple)
                 : e.NewList({v, "", ""}, List::kTuple);
  }
  return e.NewList(
      {text.substr(0, at), separator, text.substr(at + separator.size())},
      List::kTuple);
}

// side < 0: text at the left (ljust), > 0: at the right, 0: in the middle.
Value Justify(Evaluator& e, const Value& v, Arguments& a, int side) {
  const Bound bound(side < 0   ? "ljust"
                    : side > 0 ? "rjust"
                               : "center",
                    a, {"width", "fillchar"}, 1);
  const std::string fill = bound.Text(1, " ");
  if (CharacterCount(fill) != 1) Fail("the fill character must be one");
  const int64_t width = bound.Int(0, 0);
  const int64_t pad = width - static_cast<int64_t>(CharacterCount(v.string()));
  if (pad > 1 << 20) Fail("the width is too large");
  if (pad <= 0) return v;
  // Python's: of an odd one, the half at the left goes by the width.
  const int64_t left = side < 0   ? 0
                       : side > 0 ? pad
                                  : pad / 2 + (pad & width & 1);
  const auto repeated = [&](int64_t times) {
    std::string text;
    for (int64_t i = 0; i < times; ++i) text += fill;
    return text;
  };
  return e.Text(repeated(left) + v.string() + repeated(pad - left));
}

Value ZFill(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("zfill", a, {"width"}, 1);
  const int64_t pad =
      bound.Int(0, 0) - static_cast<int64_t>(CharacterCount(v.string()));
  if (pad > 1 << 20) Fail("the width is too large");
  std::string text = v.string();
  const bool sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  if (pad > 0) text.insert(sign ? 1 : 0, static_cast<size_t>(pad), '0');
  return e.Text(std::move(text));
}

// Tabs to spaces, up to the next multiple of the tab size.
Value ExpandTabs(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("expandtabs", a, {"tabsize"});
  const int64_t size = bound.Int(0, 8);
  if (size > 1 << 10) Fail("the tab size is too large");
  std::string out;
  int64_t column = 0;
  for (const char32_t c : Characters(v.string())) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
      e.Step(static_cast<size_t>(spaces));
    } else {
      AppendUtf8(c, &out);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  }
  return e.Text(std::move(out));
}

Value FormatMap(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("format_map", a, {"mapping"}, 1);
  if (!bound.Get(0)->is_dict()) Fail("format_map(): not a dict");
  Arguments named;
  for (const auto& [key, value] : bound.Get(0)->dict().items) {
    if (key.is_string()) named.named.emplace_back(key.string(), value);
  }
  return e.Text(BraceFormat(e, v.string(), named));
}

// What takes no arguments: of a text to a text, of a text to true or false, of
// every one of at least one character.
template <std::string (*convert)(std::string_view)>
Value Converted(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("this method", a, {});
  return e.Text(convert(v.string()));
}
template <bool (*holds)(const std::u32string&)>
Value Holds(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("this method", a, {});
  e.Step(v.string().size());
  return holds(Characters(v.string()));
}
template <bool (*holds)(char32_t)>
bool All(const std::u32string& all) {
  return !all.empty() && std::all_of(all.begin(), all.end(), holds);
}

bool IsAscii(const std::u32string& all) {
  return std::all_of(all.begin(), all.end(),
                     [](char32_t c) { return c < 0x80; });
}

bool IsAllPrintable(const std::u32string& all) {
  return std::all_of(all.begin(), all.end(), IsPrintable);
}

bool IsIdentifier(const std::u32string& all) {
  return !all.empty() && IsNameStart(all[0]) &&
         std::all_of(all.begin(), all.end(), IsNamePart);
}

// At least one letter of the case, and none of another.
bool IsLowerText(const std::u32string& all) {
  return std::any_of(all.begin(), all.end(), IsLower) &&
         std::none_of(all.begin(), all.end(),
                      [](char32_t c) { return IsUpper(c) || IsTitle(c); });
}
bool IsUpperText(const std::u32string& all) {
  return std::any_of(all.begin(), all.end(), IsUpper) &&
         std::none_of(all.begin(), all.end(),
                      [](char32_t c) { return IsLower(c) || IsTitle(c); });
}

// Capitals where words begin, and only there.
bool IsTitleText(const std::u32string& all) {
  bool inside = false, seen = false;
  for (const char32_t c : all) {
    const bool upper = IsUpper(c) || IsTitle(c);
    if ((upper && inside) || (IsLower(c) && !inside)) return false;
    inside = upper || IsLower(c);
    seen = seen || inside;
  }
  return seen;
}

constexpr std::pair<const char*, Filter> kMethods[] = {
    {"strip", [](Evaluator& e, const Value& v,
                 Arguments& a) { return StripSides(e, v, a, true, true); }},
    {"lstrip", [](Evaluator& e, const Value& v,
                  Arguments& a) { return StripSides(e, v, a, true, false); }},
    {"rstrip", [](Evaluator& e, const Value& v,
                  Arguments& a) { return StripSides(e, v, a, false, true); }},
    {"split", [](Evaluator& e, const Value& v,
                 Arguments& a) { return SplitEither(e, v, a, false); }},
    {"rsplit", [](Evaluator& e, const Value& v,
                  Arguments& a) { return SplitEither(e, v, a, true); }},
    {"partition", [](Evaluator& e, const Value& v,
                     Arguments& a) { return PartitionEither(e, v, a, false); }},
    {"rpartition", [](Evaluator& e, const Value& v,
                      Arguments& a) { return PartitionEither(e, v, a, true); }},
    {"splitlines", SplitLinesMethod},
    {"startswith", StartsWith},
    {"endswith", EndsWith},
    {"removeprefix", RemovePrefix},
    {"removesuffix", RemoveSuffix},
    {"replace", Replace},
    {"find", Find},
    {"rfind", FindRight},
    {"index", Index},
    {"rindex", IndexRight},
    {"count", Count},
    {"join", Join},
    {"ljust", [](Evaluator& e, const Value& v,
                 Arguments& a) { return Justify(e, v, a, -1); }},
    {"rjust", [](Evaluator& e, const Value& v,
                 Arguments& a) { return Justify(e, v, a, 1); }},
    {"center", [](Evaluator& e, const Value& v,
                  Arguments& a) { return Justify(e, v, a, 0); }},
    {"expandtabs", ExpandTabs},
    {"zfill", ZFill},
    {"title", Converted<Title>},
    {"upper", Converted<Upper>},
    {"lower", Converted<Lower>},
    {"swapcase", Converted<SwapCase>},
    {"casefold", Converted<Fold>},
    {"capitalize", Converted<Capitalize>},
    {"isalnum", Holds<All<IsAlphanumeric>>},
    {"isalpha", Holds<All<IsAlphabetic>>},
    {"isascii", Holds<IsAscii>},
    {"isdecimal", Holds<All<IsDecimal>>},
    {"isdigit", Holds<All<IsDigit>>},
    {"isidentifier", Holds<IsIdentifier>},
    {"islower", Holds<IsLowerText>},
    {"isnumeric", Holds<All<IsNumeric>>},
    {"isprintable", Holds<IsAllPrintable>},
    {"isspace", Holds<All<IsSpace>>},
    {"istitle", Holds<IsTitleText>},
    {"isupper", Holds<IsUpperText>},
    {"format_map", FormatMap},
    {"format",
     [](Evaluator& e, const Value& v, Arguments& a) {
       return e.Text(BraceFormat(e, v.string(), a));
     }},
};

}  // namespace

std::vector<std::string> StringMethodNames() {
  std::vector<std::string> names;
  for (const auto& [name, method] : kMethods) names.emplace_back(name);
  return names;
}

Filter FindStringMethod(std::string_view name) {
  for (const auto& [known, method] : kMethods) {
    if (name == known) return method;
  }
  return nullptr;
}

}  // namespace intarsia::chat_template
