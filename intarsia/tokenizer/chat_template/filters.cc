// Filters of one value: text, numbers, JSON.
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

Value Abs(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("abs", a, {});
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

Value Default(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("default", a, {"default_value", "boolean"});
  if (!v.is_undefined() && !(bound.Flag(1, false) && !v.Truth())) return v;
  return bound.Get(0) ? *bound.Get(0) : Value("");
}

// A number's text without white space around it and without the underscores
// between digits; empty if one is elsewhere. Digits of other scripts: 0 to 9.
std::string NumberText(const std::string& text) {
  const std::u32string all = Characters(Strip(text, nullptr, true, true));
  const auto digit = [&](size_t i) {
    return i < all.size() && IsDecimal(all[i]);
  };
  std::string out;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == '_') {
      const bool hex = i > 0 && i + 1 < all.size() && all[i - 1] < 0x80 &&
                       all[i + 1] < 0x80 && std::isalnum(all[i - 1]) &&
                       std::isalnum(all[i + 1]);
      if (!hex && !(i > 0 && digit(i - 1) && digit(i + 1))) return "";
    } else if (all[i] >= 0x80 && IsDecimal(all[i])) {
      out += static_cast<char>('0' + DecimalValue(all[i]));
    } else {
      AppendUtf8(all[i], &out);
    }
  }
  return out;
}

bool ParseFloat(const std::string& text, double* out) {
  const std::string number = NumberText(text);
  if (number.empty() || number.find_first_of("xXpP(") != std::string::npos) {
    return false;
  }
  char* end = nullptr;
  *out = std::strtod(number.c_str(), &end);
  return end == number.c_str() + number.size();
}

// As Python's int(text, base): base 0 goes by the prefix, and the prefix of a
// base may be there.
bool ParseInt(const std::string& text, int64_t base, int64_t* out) {
  std::string number = NumberText(text);
  if (number.empty() || base < 0 || base == 1 || base > 36) return false;
  const bool negative = number[0] == '-';
  if (negative || number[0] == '+') number.erase(0, 1);
  constexpr std::pair<char, int64_t> kPrefixes[] = {
      {'x', 16}, {'o', 8}, {'b', 2}};
  for (const auto& [letter, of] : kPrefixes) {
    if (number.size() > 2 && number[0] == '0' && (number[1] | 0x20) == letter &&
        (base == of || base == 0)) {
      number.erase(0, 2);
      base = of;
      break;
    }
  }
  if (base == 0) {
    if (number.size() > 1 && number[0] == '0' &&
        number.find_first_not_of('0') != std::string::npos) {
      return false;
    }
    base = 10;
  }
  if (number.empty() || !std::isalnum(static_cast<unsigned char>(number[0]))) {
    return false;
  }
  if (negative) number.insert(0, "-");
  char* end = nullptr;
  errno = 0;
  *out = std::strtoll(number.c_str(), &end, static_cast<int>(base));
  if (errno == ERANGE) Fail("an integer is too large");
  return end == number.c_str() + number.size();
}

bool FitsInt(double d) { return d > -9.2e18 && d < 9.2e18; }

Value IntFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("int", a, {"default", "base"});
  e.RequireDefined(v);
  int64_t whole = 0;
  double real = 0;
  if (v.is_string()) {
    if (ParseInt(v.string(), bound.Int(1, 10), &whole)) {
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

Value FloatFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("float", a, {"default"});
  e.RequireDefined(v);
  double real = 0;
  if (v.is_number()) return v.number();
  if (v.is_string() && ParseFloat(v.string(), &real)) return real;
  return bound.Get(0) ? *bound.Get(0) : Value(0.0);
}

// 1500 as "1.5 kB", or by powers of 1024.
Value FileSize(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("filesizeformat", a, {"binary"});
  double bytes = 0;
  if (v.is_number()) {
    bytes = v.number();
  } else if (!v.is_string() || !ParseFloat(v.string(), &bytes)) {
    Fail("filesizeformat: not a number");
  }
  const bool binary = bound.Flag(0, false);
  const double base = binary ? 1024 : 1000;
  char buffer[400];
  if (bytes == 1) return "1 Byte";
  if (bytes < base) {
    std::snprintf(buffer, sizeof(buffer), "%.0f Bytes", std::trunc(bytes));
    return e.Text(buffer);
  }
  constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB",
                                      "PB", "EB", "ZB", "YB"};
  constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB",
                                     "PiB", "EiB", "ZiB", "YiB"};
  size_t prefix = 0;
  double unit = base;
  while (prefix + 1 < std::size(kDecimal) && bytes >= unit * base) {
    unit *= base;
    ++prefix;
  }
  std::snprintf(buffer, sizeof(buffer), "%.1f %s", bytes / unit,
                (binary ? kBinary : kDecimal)[prefix]);
  return e.Text(buffer);
}

Value Length(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("length", a, {});
  if (v.is_undefined()) return int64_t{0};
  if (v.is_string()) return static_cast<int64_t>(CharacterCount(v.string()));
  if (v.is_dict()) return static_cast<int64_t>(v.dict().items.size());
  if (v.is_loop()) return static_cast<int64_t>(v.loop().items.size());
  if (v.is_list() && v.list().kind != List::kGenerator) {
    return static_cast<int64_t>(v.list().items.size());
  }
  Fail(std::string("object of type '") + v.TypeName() + "' has no len()");
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

Value String(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("string", a, {});
  return v.is_string() ? v : e.Text(ToText(v));
}

Value Safe(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("safe", a, {});
  return (v.is_string() ? v : e.Text(ToText(v))).AsMarkup();
}

Value ToJsonFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("tojson", a,
                    {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.Flag(0, false);
  if (bound.Get(1) && !bound.Get(1)->is_none()) {
    constexpr int64_t kMost = 64;
    if (bound.Get(1)->is_string()) {
      style.indent = bound.Text(1);
    } else {
      const int64_t indent = std::clamp<int64_t>(bound.Int(1, 0), 0, kMost + 1);
      style.indent = std::string(static_cast<size_t>(indent), ' ');
    }
    if (style.indent->size() > kMost) Fail("tojson(): the indent is too large");
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

constexpr NamedFilter kFilters[] = {
    {"abs", Abs},
    {"attr", Attr},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"filesizeformat", FileSize},
    {"float", FloatFilter},
    {"int", IntFilter},
    {"length", Length},
    {"round", Round},
    {"safe", Safe},
    {"string", String},
    {"tojson", ToJsonFilter},
};

template <typename Do>
void ForEachFilter(Do what) {
  for (const FilterTable table : {FilterTable{kFilters, std::size(kFilters)},
                                  TextFilters(), SequenceFilters()}) {
    for (size_t i = 0; i < table.size; ++i) what(table.first[i]);
  }
}

}  // namespace

Filter FindFilter(std::string_view name) {
  Filter found = nullptr;
  ForEachFilter([&](const NamedFilter& f) {
    if (name == f.name) found = f.filter;
  });
  return found;
}

Filter RequireFilter(const std::string& name) {
  const Filter filter = FindFilter(name);
  if (filter != nullptr) return filter;
  for (const char* known :
       {"pprint", "random", "striptags", "urlize", "wordwrap"}) {
    if (name == known) Fail("the filter '" + name + "' is not supported");
  }
  Fail("No filter named '" + name + "'.");
}

std::vector<std::string> FilterNames() {
  std::vector<std::string> names;
  ForEachFilter([&](const NamedFilter& f) { names.emplace_back(f.name); });
  return names;
}

}  // namespace intarsia::chat_template
