// Filters of text.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iterator>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

Value CapitalizeFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("capitalize", a, {});
  return e.Text(Capitalize(ToText(v)));
}

Value Center(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("center", a, {"width"});
  const std::string text = ToText(v);
  const auto size = static_cast<int64_t>(CharacterCount(text));
  const int64_t width = bound.Int(0, 80);
  if (width <= size) return e.Text(text);
  if (width > 1 << 20) Fail("center(): the width is too large");
  const int64_t pad = width - size;
  const int64_t left = pad / 2 + (pad & width & 1);
  return e.Text(std::string(static_cast<size_t>(left), ' ') + text +
                std::string(static_cast<size_t>(pad - left), ' '));
}

Value Escape(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("escape", a, {});
  return v.is_markup() ? v : e.Text(EscapeHtml(ToText(v))).AsMarkup();
}

Value ForceEscape(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("forceescape", a, {});
  return e.Text(EscapeHtml(ToText(v))).AsMarkup();
}

Value Format(Evaluator& e, const Value& v, Arguments& a) {
  if (!a.named.empty() && !a.positional.empty()) {
    Fail("format: positional and keyword arguments together");
  }
  Dict named;
  for (const auto& [name, value] : a.named) named.Set(Value(name), value);
  const Value values = a.named.empty() ? MakeList(a.positional, List::kTuple)
                                       : MakeDict(std::move(named));
  return e.Text(PercentFormat(e, ToText(v), values));
}

Value Indent(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("indent", a, {"width", "first", "blank"});
  std::string indent;
  if (bound.Get(0) && bound.Get(0)->is_string()) {
    indent = bound.Get(0)->string();
  } else {
    const int64_t width = bound.Int(0, 4);
    if (width > 1 << 16) Fail("indent(): the width is too large");
    indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const std::vector<std::string> lines = SplitLines(ToText(v) + "\n", false);
  std::string out = bound.Flag(1, false) ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (bound.Flag(2, false) || !lines[i].empty())) out += indent;
    out += lines[i];
    e.Step(indent.size() + lines[i].size());
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  }
  return e.Text(std::move(out));
}

Value LowerFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("lower", a, {});
  return e.Text(Lower(ToText(v)));
}

Value UpperFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("upper", a, {});
  return e.Text(Upper(ToText(v)));
}

Value ReplaceFilter(Evaluator& e, const Value& v, Arguments& a) {
  Bound("replace", a, {"old", "new", "count"}, 2);
  Arguments text = a;
  for (size_t i = 0; i < std::min<size_t>(2, text.positional.size()); ++i) {
    text.positional[i] = Value(ToText(text.positional[i]));
  }
  return FindStringMethod("replace")(e, Value(ToText(v)), text);
}

// Unlike str.title: only white space, hyphens and brackets begin a word.
Value TitleFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("title", a, {});
  const std::u32string all = Characters(ToText(v));
  const auto between = [&](size_t i) {
    return IsSpace(all[i]) ||
           (all[i] < 0x80 && std::string_view("-({[<").find(static_cast<char>(
                                 all[i])) != std::string_view::npos);
  };
  std::string out;
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    while (end < all.size() && between(end) == between(begin)) ++end;
    const auto part = [&](size_t from, size_t to) {
      return FromCharacters(std::u32string_view(all).substr(from, to - from));
    };
    out += Upper(part(begin, begin + 1)) + Lower(part(begin + 1, end));
    begin = end;
  }
  return e.Text(std::move(out));
}

Value Trim(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("trim", a, {"chars"});
  const bool given = bound.Get(0) && !bound.Get(0)->is_none();
  const std::string set = given ? bound.Text(0) : "";
  return e.Text(Strip(ToText(v), given ? &set : nullptr, true, true));
}

Value Truncate(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("truncate", a, {"length", "killwords", "end", "leeway"});
  const std::string text = ToText(v);
  const std::string end = bound.Text(2, "...");
  const auto end_size = static_cast<int64_t>(CharacterCount(end));
  const int64_t length = bound.Int(0, 255);
  const bool leeway_given = bound.Get(3) && !bound.Get(3)->is_none();
  const int64_t leeway = leeway_given ? bound.Int(3, 5) : 5;
  if (length < end_size || length > 1 << 30 || leeway < 0 || leeway > 1 << 30) {
    Fail("truncate(): bad length");
  }
  const std::u32string all = Characters(text);
  if (static_cast<int64_t>(all.size()) <= length + leeway) return e.Text(text);
  std::string out = FromCharacters(std::u32string_view(all).substr(
      0, static_cast<size_t>(length - end_size)));
  if (!bound.Flag(1, false)) out = SplitRight(out, " ", 1)[0];
  return e.Text(out + end);
}

void AppendQuoted(const std::string& text, bool query, std::string* out) {
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) ||
        std::string_view("_.-~").find(c) != std::string_view::npos ||
        (c == '/' && !query)) {
      *out += c;
    } else if (c == ' ' && query) {
      *out += '+';
    } else {
      char buffer[4];
      std::snprintf(buffer, sizeof(buffer), "%%%02X",
                    static_cast<unsigned>(static_cast<unsigned char>(c)));
      *out += buffer;
    }
  }
}

// Of a text; of a dict or pairs: a query.
Value UrlEncode(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("urlencode", a, {});
  std::string out;
  if (!v.is_dict() && !v.is_list()) {
    AppendQuoted(ToText(v), false, &out);
    return e.Text(std::move(out));
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (v.is_dict()) {
    pairs = v.dict().items;
  } else {
    for (const Value& item : e.Iterate(v)) {
      const std::vector<Value> pair = e.Iterate(item);
      if (pair.size() != 2) Fail("urlencode: takes pairs");
      pairs.emplace_back(pair[0], pair[1]);
    }
  }
  for (const auto& [key, value] : pairs) {
    if (!out.empty()) out += '&';
    AppendQuoted(ToText(key), true, &out);
    out += '=';
    AppendQuoted(ToText(value), true, &out);
    e.Step(key.Weight() + value.Weight());
  }
  return e.Text(std::move(out));
}

Value WordCount(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("wordcount", a, {});
  int64_t words = 0;
  bool inside = false;
  for (const char32_t c : Characters(ToText(v))) {
    e.Step(8);
    const bool word = c == '_' || IsAlphanumeric(c);
    words += word && !inside;
    inside = word;
  }
  return words;
}

// {"a": 1} as ' a="1"'; what is none or undefined is left out.
Value XmlAttr(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("xmlattr", a, {"autospace"});
  if (!v.is_dict()) Fail("xmlattr: not a dict");
  std::string out;
  for (const auto& [key, value] : v.dict().items) {
    if (value.is_none() || value.is_undefined()) continue;
    const std::string name = ToText(key);
    if (name.find_first_of(" \t\n\f\r/>=") != std::string::npos) {
      Fail("xmlattr: '" + name + "' is no name of an attribute");
    }
    if (!out.empty()) out += ' ';
    out += EscapeHtml(name) + "=\"" + EscapeHtml(ToText(value)) + '"';
    e.Step(out.size() / 64);
  }
  if (!out.empty() && bound.Flag(0, true)) out.insert(0, " ");
  return e.Text(std::move(out));
}

constexpr NamedFilter kFilters[] = {
    {"capitalize", CapitalizeFilter},
    {"center", Center},
    {"e", Escape},
    {"escape", Escape},
    {"forceescape", ForceEscape},
    {"format", Format},
    {"indent", Indent},
    {"lower", LowerFilter},
    {"replace", ReplaceFilter},
    {"title", TitleFilter},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", UpperFilter},
    {"urlencode", UrlEncode},
    {"wordcount", WordCount},
    {"xmlattr", XmlAttr},
};

}  // namespace

FilterTable TextFilters() { return {kFilters, std::size(kFilters)}; }

}  // namespace intarsia::chat_template
