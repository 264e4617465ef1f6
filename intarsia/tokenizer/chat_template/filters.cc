// Filters of one value: text, numbers, JSON.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

Value Abs(Evaluator& e, const Value& v, Arguments&) {
  e.RequireDefined(v);
  if (v.is_float()) return std::fabs(v.number());
  if (!v.is_number()) Fail("bad operand type for abs()");
  return v.integer() < 0 ? e.Arithmetic("-", int64_t{0}, v)
                         : Value(v.integer());
}

Value Attr(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("attr", a, {"name"}, 1);
  if (v.is_dict()) return FindMethod(v, bound.Text(0));  // never a key
  return e.Attribute(v, bound.Text(0));
}

Value CapitalizeFilter(Evaluator& e, const Value& v, Arguments&) {
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

Value Default(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("default", a, {"default_value", "boolean"});
  if (!v.is_undefined() && !(bound.Flag(1, false) && !v.Truth())) return v;
  return bound.Get(0) ? *bound.Get(0) : Value("");
}

Value Escape(Evaluator& e, const Value& v, Arguments&) {
  std::string out;
  for (const char c : ToText(v)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return e.Text(std::move(out));
}

// A number that is all of the text but white space around it.
bool ParseFloat(const std::string& text, double* out) {
  const std::string trimmed = Strip(text, nullptr, true, true);
  if (trimmed.empty() || trimmed.find_first_of("xXpP(") != std::string::npos) {
    return false;
  }
  char* end = nullptr;
  *out = std::strtod(trimmed.c_str(), &end);
  return end == trimmed.c_str() + trimmed.size();
}

bool ParseInt(const std::string& text, int base, int64_t* out) {
  const std::string trimmed = Strip(text, nullptr, true, true);
  if (trimmed.empty() || base < 2 || base > 36) return false;
  char* end = nullptr;
  errno = 0;
  *out = std::strtoll(trimmed.c_str(), &end, base);
  return errno == 0 && end == trimmed.c_str() + trimmed.size();
}

bool FitsInt(double d) { return d > -9.2e18 && d < 9.2e18; }

Value IntFilter(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("int", a, {"default", "base"});
  int64_t whole = 0;
  double real = 0;
  if (v.is_string()) {
    if (ParseInt(v.string(), static_cast<int>(bound.Int(1, 10)), &whole)) {
      return whole;
    }
    if (ParseFloat(v.string(), &real) && FitsInt(real)) {
      return static_cast<int64_t>(real);
    }
  } else if (v.is_float() && FitsInt(v.number())) {
    return static_cast<int64_t>(v.number());
  } else if (v.is_int() || v.is_bool()) {
    return v.integer();
  }
  return bound.Get(0) ? *bound.Get(0) : Value(int64_t{0});
}

Value FloatFilter(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("float", a, {"default"});
  double real = 0;
  if (v.is_number()) return v.number();
  if (v.is_string() && ParseFloat(v.string(), &real)) return real;
  return bound.Get(0) ? *bound.Get(0) : Value(0.0);
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

Value Length(Evaluator&, const Value& v, Arguments&) {
  if (v.is_undefined()) return int64_t{0};
  if (v.is_string()) return static_cast<int64_t>(CharacterCount(v.string()));
  if (v.is_dict()) return static_cast<int64_t>(v.dict().items.size());
  if (v.is_loop()) return static_cast<int64_t>(v.loop().items.size());
  if (v.is_list() && v.list().kind != List::kGenerator) {
    return static_cast<int64_t>(v.list().items.size());
  }
  Fail(std::string("object of type '") + v.TypeName() + "' has no len()");
}

Value LowerFilter(Evaluator& e, const Value& v, Arguments&) {
  return e.Text(Lower(ToText(v)));
}
Value UpperFilter(Evaluator& e, const Value& v, Arguments&) {
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

Value Round(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("round", a, {"precision", "method"});
  if (!v.is_number()) Fail("round: not a number");
  const int64_t precision = bound.Int(0, 0);
  const std::string method = bound.Text(1, "common");
  if (precision < -300 || precision > 300) Fail("round: bad precision");
  const double value = v.number();
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(value * scale) / scale;
  if (method == "floor") return std::floor(value * scale) / scale;
  if (method != "common") {
    Fail("method must be common, ceil or floor");
  }
  // A whole number stays one.
  if (!v.is_float() && precision >= 0) return v.integer();
  if (precision < 0) {
    const double rounded = std::nearbyint(value * scale) / scale;
    if (v.is_float()) return rounded;
    return static_cast<int64_t>(rounded);
  }
  // The decimal digits that printf rounds correctly.
  char buffer[700];
  std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision),
                value);
  return std::strtod(buffer, nullptr);
}

Value String(Evaluator& e, const Value& v, Arguments&) {
  return v.is_string() ? v : e.Text(ToText(v));
}

Value Title(Evaluator& e, const Value& v, Arguments&) {
  std::string out;
  bool start = true;
  for (const char32_t c : Characters(ToText(v))) {
    AppendUtf8(start ? ToUpperCharacter(c) : ToLowerCharacter(c), &out);
    start = IsSpace(c) ||
            (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                             std::string_view::npos);
  }
  return e.Text(std::move(out));
}

Value ToJsonFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("tojson", a,
                    {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.Flag(0, false);
  if (bound.Get(1) && !bound.Get(1)->is_none()) {
    const int64_t indent = bound.Int(1, 0);
    if (indent > 64) Fail("tojson(): the indent is too large");
    style.indent = static_cast<int>(std::max<int64_t>(indent, 0));
    style.item_separator = ",";
  }
  if (bound.Get(2) && !bound.Get(2)->is_none()) {
    const std::vector<Value> pair = e.Iterate(*bound.Get(2));
    if (pair.size() != 2) Fail("tojson(): separators must be two");
    style.item_separator = RequireText(pair[0], "tojson(): a separator");
    style.key_separator = RequireText(pair[1], "tojson(): a separator");
    if (style.item_separator.size() + style.key_separator.size() > 64) {
      Fail("tojson(): the separators are too long");
    }
  }
  style.sort_keys = bound.Flag(3, false);
  return e.Text(ToJson(v, style));
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

Value UrlEncode(Evaluator& e, const Value& v, Arguments&) {
  std::string out;
  for (const char c : ToText(v)) {
    if (std::isalnum(static_cast<unsigned char>(c)) ||
        std::string_view("_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      char buffer[4];
      std::snprintf(buffer, sizeof(buffer), "%%%02X",
                    static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += buffer;
    }
  }
  return e.Text(std::move(out));
}

Value WordCount(Evaluator& e, const Value& v, Arguments&) {
  int64_t words = 0;
  bool inside = false;
  for (const char32_t c : Characters(ToText(v))) {
    e.Step(8);
    const bool word = IsWordCharacter(c);
    words += word && !inside;
    inside = word;
  }
  return words;
}

constexpr std::pair<const char*, Filter> kFilters[] = {
    {"abs", Abs},
    {"attr", Attr},
    {"capitalize", CapitalizeFilter},
    {"center", Center},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"e", Escape},
    {"escape", Escape},
    {"forceescape", Escape},
    {"float", FloatFilter},
    {"format", Format},
    {"indent", Indent},
    {"int", IntFilter},
    {"length", Length},
    {"lower", LowerFilter},
    {"replace", ReplaceFilter},
    {"round", Round},
    {"safe", String},
    {"string", String},
    {"title", Title},
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", UpperFilter},
    {"urlencode", UrlEncode},
    {"wordcount", WordCount},
};

}  // namespace

Filter FindFilter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (name == known) return filter;
  }
  return nullptr;
}

}  // namespace intarsia::chat_template
