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

// One text or a tuple of them.
template <typename Matches>
bool AnyAffix(const Bound& bound, const char* what, Matches matches) {
  const Value& affix = *bound.Get(0);
  if (!affix.is_list() || affix.list().kind != List::kTuple) {
    return matches(RequireText(affix, what));
  }
  const auto& items = affix.list().items;
  return std::any_of(items.begin(), items.end(), [&](const Value& item) {
    return matches(RequireText(item, what));
  });
}

Value StartsWith(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("startswith", a, {"prefix"}, 1);
  return AnyAffix(bound, "startswith()", [&](const std::string& affix) {
    return v.string().compare(0, affix.size(), affix) == 0;
  });
}

Value EndsWith(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("endswith", a, {"suffix"}, 1);
  const std::string& text = v.string();
  return AnyAffix(bound, "endswith()", [&](const std::string& affix) {
    return text.size() >= affix.size() &&
           text.compare(text.size() - affix.size(), affix.size(), affix) == 0;
  });
}

Value RemovePrefix(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("removeprefix", a, {"prefix"}, 1);
  const std::string affix = bound.Text(0);
  const bool there = v.string().compare(0, affix.size(), affix) == 0;
  return e.Text(there ? v.string().substr(affix.size()) : v.string());
}

Value RemoveSuffix(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("removesuffix", a, {"suffix"}, 1);
  const std::string affix = bound.Text(0);
  const std::string& text = v.string();
  const bool there =
      text.size() >= affix.size() &&
      text.compare(text.size() - affix.size(), affix.size(), affix) == 0;
  return e.Text(there ? text.substr(0, text.size() - affix.size()) : text);
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

// The character position of a byte position.
Value Position(const std::string& text, size_t byte) {
  if (byte == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(
      CharacterCount(std::string_view(text).substr(0, byte)));
}

Value Find(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("find", a, {"sub"}, 1);
  return Position(v.string(), v.string().find(bound.Text(0)));
}

Value FindRight(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("rfind", a, {"sub"}, 1);
  return Position(v.string(), v.string().rfind(bound.Text(0)));
}

Value Index(Evaluator& e, const Value& v, Arguments& a) {
  Value at = Find(e, v, a);
  if (at.integer() < 0) Fail("substring not found");
  return at;
}

Value Count(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("count", a, {"sub"}, 1);
  const std::string part = bound.Text(0);
  e.Step(v.string().size());
  if (part.empty()) {
    return static_cast<int64_t>(CharacterCount(v.string()) + 1);
  }
  int64_t count = 0;
  for (size_t at = 0; (at = v.string().find(part, at)) != std::string::npos;
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

// side < 0: text at the left (ljust), > 0: at the right.
Value Justify(Evaluator& e, const Value& v, Arguments& a, int side) {
  const Bound bound(side < 0 ? "ljust" : "rjust", a, {"width", "fillchar"}, 1);
  const std::string fill = bound.Text(1, " ");
  if (CharacterCount(fill) != 1) Fail("the fill character must be one");
  const int64_t pad =
      bound.Int(0, 0) - static_cast<int64_t>(CharacterCount(v.string()));
  if (pad > 1 << 20) Fail("the width is too large");
  std::string padding;
  for (int64_t i = 0; i < pad; ++i) padding += fill;
  return e.Text(side < 0 ? v.string() + padding : padding + v.string());
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

template <typename Predicate>
bool All(const Value& v, Predicate predicate) {
  const std::u32string all = Characters(v.string());
  return !all.empty() && std::all_of(all.begin(), all.end(), predicate);
}

// Every word begins with a capital and goes on in small letters.
Value TitleCase(Evaluator& e, const Value& v, Arguments&) {
  std::string out;
  bool inside = false;
  for (const char32_t c : Characters(v.string())) {
    AppendUtf8(inside ? ToLowerCharacter(c) : ToUpperCharacter(c), &out);
    inside = IsAlphabetic(c);
  }
  return e.Text(std::move(out));
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
    {"count", Count},
    {"join", Join},
    {"ljust", [](Evaluator& e, const Value& v,
                 Arguments& a) { return Justify(e, v, a, -1); }},
    {"rjust", [](Evaluator& e, const Value& v,
                 Arguments& a) { return Justify(e, v, a, 1); }},
    {"center", [](Evaluator& e, const Value& v,
                  Arguments& a) { return FindFilter("center")(e, v, a); }},
    {"zfill", ZFill},
    {"title", TitleCase},
    {"upper", [](Evaluator& e, const Value& v,
                 Arguments&) { return e.Text(Upper(v.string())); }},
    {"lower", [](Evaluator& e, const Value& v,
                 Arguments&) { return e.Text(Lower(v.string())); }},
    {"casefold", [](Evaluator& e, const Value& v,
                    Arguments&) { return e.Text(Lower(v.string())); }},
    {"capitalize", [](Evaluator& e, const Value& v,
                      Arguments&) { return e.Text(Capitalize(v.string())); }},
    {"isdigit",
     [](Evaluator&, const Value& v, Arguments&) -> Value {
       return All(v, IsDigit);
     }},
    {"isnumeric",
     [](Evaluator&, const Value& v, Arguments&) -> Value {
       return All(v, IsDigit);
     }},
    {"isdecimal",
     [](Evaluator&, const Value& v, Arguments&) -> Value {
       return All(v, IsDigit);
     }},
    {"isalpha",
     [](Evaluator&, const Value& v, Arguments&) -> Value {
       return All(v, IsAlphabetic);
     }},
    {"isalnum",
     [](Evaluator&, const Value& v, Arguments&) -> Value {
       return All(v, [](char32_t c) { return IsAlphabetic(c) || IsDigit(c); });
     }},
    {"isspace",
     [](Evaluator&, const Value& v, Arguments&) -> Value {
       return All(v, IsSpace);
     }},
    {"isupper",
     [](Evaluator& e, const Value& v, Arguments& a) -> Value {
       return FindTest("upper")(e, v, a);
     }},
    {"islower",
     [](Evaluator& e, const Value& v, Arguments& a) -> Value {
       return FindTest("lower")(e, v, a);
     }},
    {"format",
     [](Evaluator& e, const Value& v, Arguments& a) {
       return e.Text(BraceFormat(e, v.string(), a));
     }},
};

}  // namespace

Filter FindStringMethod(std::string_view name) {
  for (const auto& [known, method] : kMethods) {
    if (name == known) return method;
  }
  return nullptr;
}

}  // namespace intarsia::chat_template
