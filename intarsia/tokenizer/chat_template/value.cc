#include "intarsia/tokenizer/chat_template/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {

void Fail(const std::string& message) { throw TemplateError(message); }

const Value* Dict::FindName(std::string_view name) const {
  const auto it = by_name.find(std::string(name));
  return it == by_name.end() ? nullptr : &items[it->second].second;
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) return FindName(key.string());
  for (const auto& [k, v] : items) {
    if (Equal(k, key)) return &v;
  }
  return nullptr;
}

void Dict::Set(const Value& key, const Value& value) {
  if (const Value* found = Find(key)) {
    *const_cast<Value*>(found) = value;  // an element of our own `items`
  } else {
    if (key.is_string()) by_name.emplace(key.string(), items.size());
    items.emplace_back(key, value);
  }
  depth = std::max({depth, key.Depth() + 1, value.Depth() + 1});
  weight += key.Weight() + value.Weight();
}

int64_t Value::integer() const {
  return is_bool() ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_);
}

double Value::number() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
}

bool Value::Truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool() || is_int()) return integer() != 0;
  if (is_float()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list())
    return list().kind == List::kGenerator || !list().items.empty();
  if (is_dict()) return !dict().items.empty();
  return true;
}

int Value::Depth() const {
  if (is_list()) return list().depth;
  if (is_dict()) return dict().depth;
  if (is_function()) return function().depth;
  if (is_loop()) return loop().depth;
  return 0;
}

size_t Value::Weight() const {
  constexpr size_t kOwn = 16;
  if (is_string()) return kOwn + string().size();
  if (is_list()) return kOwn + list().weight;
  if (is_dict()) return kOwn + dict().weight;
  return kOwn;
}

const char* Value::TypeName() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) {
    constexpr const char* kNames[] = {"list",      "tuple",       "range",
                                      "dict_keys", "dict_values", "dict_items",
                                      "generator"};
    return kNames[list().kind];
  }
  if (is_dict()) return "dict";
  if (is_namespace()) return "Namespace";
  if (is_loop()) return "LoopContext";
  return "function";
}

bool Value::SameObject(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_list()) return &list() == &other.list();
  if (is_dict()) return &dict() == &other.dict();
  if (is_namespace()) return &ns() == &other.ns();
  if (is_function()) return &function() == &other.function();
  if (is_loop()) return &loop() == &other.loop();
  if (is_undefined()) return false;
  return Equal(*this, other);
}

Value MakeList(std::vector<Value> items, List::Kind kind) {
  auto list = std::make_shared<List>();
  list->kind = kind;
  for (const Value& item : items) {
    list->depth = std::max(list->depth, item.Depth() + 1);
    list->weight += item.Weight();
  }
  if (list->weight > kMaxValueWeight) Fail("a list is too large");
  list->items = std::move(items);
  if (list->depth > kMaxValueDepth) Fail("a list nests too deeply");
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value MakeDict(Dict dict) {
  if (dict.depth > kMaxValueDepth) Fail("a dict nests too deeply");
  if (dict.weight > kMaxValueWeight) Fail("a dict is too large");
  return Value(
      std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(dict))));
}

Value MakeFunction(std::string name,
                   std::function<Value(Evaluator&, Arguments&)> call,
                   int depth) {
  if (depth >= kMaxValueDepth) Fail("functions nest too deeply");
  auto function = std::make_shared<Function>();
  function->name = std::move(name);
  function->call = std::move(call);
  function->depth = depth + 1;
  return Value(std::shared_ptr<const Function>(std::move(function)));
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.number() == b.number();
    return a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_none() && b.is_none()) return true;
  if (a.is_undefined() && b.is_undefined()) return true;
  if (a.is_list() && b.is_list()) {
    const List& x = a.list();
    const List& y = b.list();
    if (x.kind == List::kGenerator || x.kind == List::kValues) return &x == &y;
    if (x.kind != y.kind) return false;
    if (x.kind == List::kKeys || x.kind == List::kItems) {  // sets
      constexpr size_t kMost = 4096;  // the comparison is quadratic
      if (x.items.size() > kMost) Fail("dict views too large to compare");
      return x.items.size() == y.items.size() &&
             std::is_permutation(x.items.begin(), x.items.end(),
                                 y.items.begin(), Equal);
    }
    return std::equal(x.items.begin(), x.items.end(), y.items.begin(),
                      y.items.end(), Equal);
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    for (const auto& [key, value] : a.dict().items) {
      const Value* other = b.dict().Find(key);
      if (other == nullptr || !Equal(value, *other)) return false;
    }
    return true;
  }
  return (a.is_namespace() || a.is_function() || a.is_loop()) &&
         a.SameObject(b);
}

bool Less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.number() < b.number();
    return a.integer() < b.integer();
  }
  if (a.is_string() && b.is_string()) {
    return a.string() < b.string();  // UTF-8 sorts as its characters do
  }
  if (a.is_list() && b.is_list() && a.list().kind == b.list().kind &&
      a.list().kind <= List::kTuple) {
    const auto& x = a.list().items;
    const auto& y = b.list().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!Equal(x[i], y[i])) return Less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  if (a.is_undefined() || b.is_undefined()) {
    const Undefined& u = (a.is_undefined() ? a : b).undefined();
    Fail((u.name ? "'" + *u.name + "'" : "a value") + " is undefined");
  }
  Fail(std::string("'<' not supported between '") + a.TypeName() + "' and '" +
       b.TypeName() + "'");
}

namespace {

// The shortest digits that read back as the same number, laid out as Python's
// repr does.
std::string FloatText(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[40];
  const double size = std::fabs(d);
  const bool scientific = d != 0 && (size < 1e-4 || size >= 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), d,
                                 scientific ? std::chars_format::scientific
                                            : std::chars_format::fixed)
                       .ptr;
  std::string text(buffer, end);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

// \x.., \u.... or \U........ of a character.
std::string EscapeOf(char32_t c) {
  char buffer[16];
  const char* format = c < 0x100     ? "\\x%02x"
                       : c < 0x10000 ? "\\u%04x"
                                     : "\\U%08x";
  std::snprintf(buffer, sizeof(buffer), format, static_cast<unsigned>(c));
  return buffer;
}

std::string QuotedText(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const bool has_double = text.find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (const char32_t c : Characters(text)) {
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      AppendUtf8(c, &out);
    } else {
      out += EscapeOf(c);
    }
  }
  return out += quote;
}

std::string ReprDict(const std::vector<std::pair<Value, Value>>& items) {
  std::string out;
  for (const auto& [key, value] : items) {
    out += out.empty() ? "{" : ", ";
    out += Repr(key);
    out += ": ";
    out += Repr(value);
  }
  return out.empty() ? "{}" : out + "}";
}

std::string ReprList(const List& list) {
  if (list.kind == List::kGenerator) return "<generator object>";
  if (list.kind == List::kRange) {
    std::string out = "range(" + std::to_string(list.start) + ", " +
                      std::to_string(list.stop);
    if (list.step != 1) out += ", " + std::to_string(list.step);
    return out + ")";
  }
  constexpr const char* kOpen[] = {
      "[", "(", "", "dict_keys([", "dict_values([", "dict_items(["};
  std::string out = kOpen[list.kind];
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    out += Repr(list.items[i]);
  }
  if (list.kind == List::kTuple)
    return out + (list.items.size() == 1 ? ",)" : ")");
  return out + (list.kind == List::kList ? "]" : "])");
}

}  // namespace

std::string Repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_int()) return std::to_string(value.integer());
  if (value.is_float()) return FloatText(value.number());
  if (value.is_string()) return QuotedText(value.string());
  if (value.is_list()) return ReprList(value.list());
  if (value.is_dict()) return ReprDict(value.dict().items);
  if (value.is_namespace()) return "<Namespace>";
  if (value.is_loop()) {
    const Loop& loop = value.loop();
    return "<LoopContext " + std::to_string(loop.index + 1) + "/" +
           std::to_string(loop.items.size()) + ">";
  }
  return "<function " + value.function().name + ">";
}

std::string AsciiOnly(const std::string& repr) {
  std::string out;
  for (const char32_t c : Characters(repr)) {
    out += c < 0x80 ? std::string(1, static_cast<char>(c)) : EscapeOf(c);
  }
  return out;
}

std::string ToText(const Value& value) {
  if (value.is_undefined()) return "";
  if (value.is_string()) return value.string();
  return Repr(value);
}

Value FromJson(const nlohmann::ordered_json& json, int depth) {
  if (depth >= kMaxValueDepth) Fail("the input nests too deeply");
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        return static_cast<double>(json.get<uint64_t>());
      }
      return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_float:
      return json.get<double>();
    case nlohmann::ordered_json::value_t::string:
      return ReplaceInvalidUtf8(json.get_ref<const std::string&>());
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(FromJson(item, depth + 1));
      return MakeList(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) {
        dict.Set(Value(ReplaceInvalidUtf8(key)), FromJson(value, depth + 1));
      }
      return MakeDict(std::move(dict));
    }
    default:
      return None{};
  }
}

namespace {

void AppendJsonString(const std::string& text, bool ascii, std::string* out) {
  const auto unit = [&](unsigned u) {
    char buffer[16];
    std::snprintf(buffer, sizeof(buffer), "\\u%04x", u);
    *out += buffer;
  };
  *out += '"';
  for (const char32_t c : Characters(text)) {
    switch (c) {
      case '"':
        *out += "\\\"";
        break;
      case '\\':
        *out += "\\\\";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '\f':
        *out += "\\f";
        break;
      case '\b':
        *out += "\\b";
        break;
      default:
        if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000)) {
          unit(c);
        } else if (ascii && c >= 0x10000) {
          unit(0xD800 + ((c - 0x10000) >> 10));
          unit(0xDC00 + ((c - 0x10000) & 0x3FF));
        } else {
          AppendUtf8(c, out);
        }
    }
  }
  *out += '"';
}

void AppendJson(const Value& value, const JsonStyle& style, int level,
                std::string* out);

std::string JsonKey(const Value& key, const JsonStyle& style) {
  if (key.is_string()) return key.string();
  if (!key.is_number() && !key.is_none()) {
    Fail(std::string("keys must be str, int, float, bool or None, not ") +
         key.TypeName());
  }
  std::string text;
  AppendJson(key, style, 0, &text);
  return text;
}

void NewLine(const JsonStyle& style, int level, std::string* out) {
  if (!style.indent) return;
  *out += '\n';
  for (int i = 0; i < level; ++i) *out += *style.indent;
}

void AppendJsonDict(const Dict& dict, const JsonStyle& style, int level,
                    std::string* out) {
  auto items = dict.items;
  if (style.sort_keys) {
    std::stable_sort(
        items.begin(), items.end(),
        [](const auto& a, const auto& b) { return Less(a.first, b.first); });
  }
  *out += '{';
  bool first = true;
  for (const auto& [key, item] : items) {
    if (!first) *out += style.item_separator;
    first = false;
    NewLine(style, level + 1, out);
    AppendJsonString(JsonKey(key, style), style.ensure_ascii, out);
    *out += style.key_separator;
    AppendJson(item, style, level + 1, out);
  }
  if (!items.empty()) NewLine(style, level, out);
  *out += '}';
}

void AppendJson(const Value& value, const JsonStyle& style, int level,
                std::string* out) {
  // Indentation can be much more than what it indents.
  if (out->size() > 4 * kMaxValueWeight) Fail("the JSON text is too long");
  if (value.is_none()) {
    *out += "null";
  } else if (value.is_bool()) {
    *out += value.boolean() ? "true" : "false";
  } else if (value.is_float() && !std::isfinite(value.number())) {
    const double d = value.number();
    *out += std::isnan(d) ? "NaN" : d < 0 ? "-Infinity" : "Infinity";
  } else if (value.is_int() || value.is_float()) {
    *out += Repr(value);
  } else if (value.is_string()) {
    AppendJsonString(value.string(), style.ensure_ascii, out);
  } else if (value.is_dict()) {
    AppendJsonDict(value.dict(), style, level, out);
  } else if (value.is_list() && value.list().kind <= List::kTuple) {
    *out += '[';
    bool first = true;
    for (const Value& item : value.list().items) {
      if (!first) *out += style.item_separator;
      first = false;
      NewLine(style, level + 1, out);
      AppendJson(item, style, level + 1, out);
    }
    if (!value.list().items.empty()) NewLine(style, level, out);
    *out += ']';
  } else {
    Fail(std::string("Object of type ") + value.TypeName() +
         " is not JSON serializable");
  }
}

}  // namespace

std::string ToJson(const Value& value, const JsonStyle& style) {
  std::string out;
  AppendJson(value, style, 0, &out);
  return out;
}

}  // namespace intarsia::chat_template
